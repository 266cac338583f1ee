//go:build linux

package ruleset

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/nftables/binaryutil"
	"github.com/mdlayher/netlink"
)

// flowMessage is a message as conntrack writes it.
func flowMessage(t testing.TB, f flow) []byte {
	t.Helper()
	data, err := netlink.MarshalAttributes([]netlink.Attribute{
		f.original.encode(flowOriginal), f.reply.encode(flowReply),
		{Type: flowTimeout, Data: binaryutil.BigEndian.PutUint32(uint32(f.expires / time.Second))},
	})
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte{2, 0, 0, 0}, data...)
}

func flows() []flow {
	at := netip.MustParseAddrPort
	return []flow{
		{
			original: tuple{17, at("192.168.1.10:5000"), at("198.18.0.10:3478")},
			reply:    tuple{17, at("198.18.0.10:3478"), at("198.18.0.1:28521")},
			expires:  30 * time.Second,
		},
		{
			original: tuple{1, at("192.168.1.10:7777"), at("198.18.0.10:7777")},
			reply:    tuple{1, at("198.18.0.10:7777"), at("198.18.0.1:7777")},
			expires:  time.Second,
		},
	}
}

func TestDecodeFlow(t *testing.T) {
	for _, want := range flows() {
		got, err := decodeFlow(flowMessage(t, want))
		if err != nil || got != want {
			t.Errorf("got %+v, %v, want %+v", got, err, want)
		}
	}
	for _, short := range [][]byte{nil, {2, 0, 0}, {2, 0, 0, 0, 9}, {2, 0, 0, 0, 8, 0, 7, 0, 0}} {
		if _, err := decodeFlow(short); err == nil {
			t.Errorf("%x: no error", short)
		}
	}
}

// The kernel is trusted, but not to crash us.
func FuzzDecodeFlow(f *testing.F) {
	for _, known := range flows() {
		f.Add(flowMessage(f, known))
	}
	f.Fuzz(func(_ *testing.T, message []byte) {
		_, _ = decodeFlow(message)
	})
}
