//go:build linux

package droplog

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"p2pmodel/nat/ruleset"
	"p2pmodel/sim/witness"
)

// logged encodes a message as the kernel does.
func logged(prefix string, packet []byte, more func(*netlink.AttributeEncoder)) []byte {
	ae := netlink.NewAttributeEncoder()
	ae.Bytes(attributePrefix, append([]byte(prefix), 0))
	if packet != nil {
		ae.Bytes(attributePayload, packet)
	}
	if more != nil {
		more(ae)
	}
	payload, err := ae.Encode()
	if err != nil {
		panic(err)
	}
	b := binary.NativeEndian.AppendUint32(nil, uint32(netlinkHeader+netfilterHeader+len(payload)))
	b = binary.NativeEndian.AppendUint16(b, messagePacket)
	b = append(b, make([]byte, 10)...)
	b = append(b, unix.AF_INET, 0, 0, 0)
	return append(b, payload...)
}

// datagram is 198.18.0.5:7 → 198.18.0.2:1024 with four bytes.
var datagram = []byte{
	0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0, 198, 18, 0, 5, 198, 18, 0, 2,
	0, 7, 4, 0, 0, 12, 0, 0, 'd', 'e', 'a', 'd',
}

func TestDecode(t *testing.T) {
	now := time.Unix(100, 0)
	for _, c := range []struct {
		name string
		b    []byte
		want string
	}{
		{"a drop", logged("filtered|nat udp_inbound: its filter", datagram, nil),
			"filtered at , rule nat udp_inbound: its filter (198.18.0.5:7 → 198.18.0.2:1024)"},
		{"two in one read", append(logged("loss|link", datagram, nil), logged("cut|link", datagram, nil)...),
			"loss at , rule link (198.18.0.5:7 → 198.18.0.2:1024); cut at , rule link (198.18.0.5:7 → 198.18.0.2:1024)"},
		{"behind an Ethernet header", logged("cut|link", append([]byte{2, 0x4c, 0, 0, 0, 0, 2, 0x4c, 0, 0, 0, 1, 8, 0}, datagram...), nil),
			"cut at , rule link (198.18.0.5:7 → 198.18.0.2:1024)"},
		{"somebody else's log", logged("an nft rule of a user", datagram, nil), ""},
		{"without a packet", logged("filtered|nat", nil, nil), ""},
		{"cut off", logged("filtered|nat", datagram, nil)[:30], ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ""
			Decode(c.b, now, func(m Message) {
				if got != "" {
					got += "; "
				}
				got += m.Drop.String()
				if !m.At.Equal(now) {
					t.Errorf("time %v without a timestamp, want %v", m.At, now)
				}
			})
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
	stamp := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, 77), 5)
	Decode(logged("filtered|nat", datagram, func(ae *netlink.AttributeEncoder) {
		ae.Bytes(attributeTimestamp, stamp)
		ae.Bytes(attributeIn, []byte{0, 0, 0, 3})
	}), now, func(m Message) {
		if !m.At.Equal(time.Unix(77, 5000)) || m.In != 3 {
			t.Errorf("time %v, interface %d; want 77.000005 s, 3", m.At, m.In)
		}
	})
}

func FuzzDecode(f *testing.F) {
	f.Add(logged("filtered|nat udp_inbound: its filter", datagram, nil))
	f.Add(append(logged("loss|link", datagram, nil), logged("cut|link", datagram, nil)...))
	f.Add([]byte{16, 0, 0, 0, 0, 4})
	f.Fuzz(func(t *testing.T, b []byte) {
		Decode(b, time.Time{}, func(m Message) {
			if m.Cause == "" || m.Rule == "" || len(m.Data) == 0 {
				t.Errorf("a drop that says nothing: %+v", m)
			}
		})
	})
}

// TestCauses: what is asked for by others is what the rules say.
func TestCauses(t *testing.T) {
	if string(witness.CauseExhausted) != string(ruleset.CauseExhausted) {
		t.Errorf("the witness calls it %q, the rules %q", witness.CauseExhausted, ruleset.CauseExhausted)
	}
}
