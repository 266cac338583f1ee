package stun

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/pion/stun/v3"
)

// TestWriterWritesWhatTheCodecWrites: byte for byte, for attributes of every length
// of padding.
func TestWriterWritesWhatTheCodecWrites(t *testing.T) {
	v4, v6 := netip.MustParseAddrPort("192.0.2.1:4096"), netip.MustParseAddrPort("[2001:db8::17]:65535")
	keys := []Integrity{nil, ShortTerm("short"), LongTerm("user", "realm", "password"), bytes.Repeat([]byte("long"), 40)}
	for size := range 9 {
		value := bytes.Repeat([]byte{0xAB}, size)
		for _, key := range keys {
			want := []stun.Setter{
				stun.NewUsername("remote:" + string(value)), Attribute{stun.AttrData, value}, Uint32(stun.AttrPriority, 0x01020304),
				Attribute{stun.AttrICEControlling, []byte{1, 2, 3, 4, 5, 6, 7, 8}}, Attribute{Type: stun.AttrUseCandidate},
				XORAddress{stun.AttrXORMappedAddress, v4}, XORAddress{stun.AttrXORPeerAddress, v6},
				stun.ErrorCodeAttribute{Code: 487, Reason: value},
			}
			if key != nil {
				want = append(want, key)
			}
			m := build(t, stun.ClassErrorResponse, append(want, stun.Fingerprint)...)

			w := Write(stun.MethodBinding, stun.ClassErrorResponse, id, 16)
			w.Text(stun.AttrUsername, "remote", ":", string(value))
			w.Bytes(stun.AttrData, value[:size/2], value[size/2:])
			w.Uint32(stun.AttrPriority, 0x01020304)
			w.Uint64(stun.AttrICEControlling, 0x0102030405060708)
			w.Bytes(stun.AttrUseCandidate)
			w.XORAddress(stun.AttrXORMappedAddress, v4)
			w.XORAddress(stun.AttrXORPeerAddress, v6)
			w.ErrorCode(487, string(value))
			w.Sign(key)
			w.Fingerprint()
			if got := w.Raw(); !bytes.Equal(got, m.Raw) {
				t.Fatalf("%d bytes, key %q:\n%x, want\n%x", size, key, got, m.Raw)
			}
		}
	}
}

// TestParserReusesItsMemory: what was read before is gone, and nothing of it is left
// in what is read next.
func TestParserReusesItsMemory(t *testing.T) {
	var p Parser
	long := build(t, stun.ClassRequest, Attribute{stun.AttrData, bytes.Repeat([]byte{1}, 300)}, ShortTerm("key"), stun.Fingerprint).Raw
	short := build(t, stun.ClassIndication, stun.Fingerprint).Raw
	for range 3 {
		m, err := p.Parse(long)
		if err != nil || len(m.Attributes) != 3 || ShortTerm("key").Check(m) != nil {
			t.Fatalf("the long one: %v, %v", m, err)
		}
		if m, err = p.Parse(short); err != nil || len(m.Attributes) != 1 || m.Type.Class != stun.ClassIndication || m.Contains(stun.AttrData) {
			t.Fatalf("the short one: %v, %v", m, err)
		}
	}
	if allocs := testing.AllocsPerRun(100, func() { _, _ = p.Parse(long) }); allocs > 0 {
		t.Errorf("reading allocates %v times", allocs)
	}
}

func BenchmarkCheck(b *testing.B) {
	key := ShortTerm("0123456789abcdef0123456789abcdef")
	var p Parser
	b.ReportAllocs()
	for b.Loop() {
		w := Write(stun.MethodBinding, stun.ClassRequest, id, 96)
		w.Text(stun.AttrUsername, "12345678", ":", "abcdefgh")
		w.Uint32(stun.AttrPriority, 1)
		w.Uint64(stun.AttrICEControlling, 2)
		w.Sign(key)
		w.Fingerprint()
		m, err := p.Parse(w.Raw())
		if err != nil || key.Check(m) != nil {
			b.Fatal(err)
		}
	}
}
