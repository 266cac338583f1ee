package packet

import (
	"bytes"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var loopback = netip.MustParseAddrPort("127.0.0.1:0")

// socket opens one for the test.
func socket(t *testing.T, coalesce bool) (int, netip.AddrPort) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("LEFT OUT: large buffers take root")
	}
	fd, err := Listen(loopback, coalesce)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd, Local(fd)
}

// receive reads datagrams, put together or not, until there are so many.
func receive(t *testing.T, fd, count int, coalesced bool) (all [][]byte) {
	t.Helper()
	r := NewReceiver(16, coalesced)
	for deadline := time.Now().Add(5 * time.Second); len(all) < count && time.Now().Before(deadline); {
		if err := Wait([]int{fd}, 100); err != nil {
			t.Fatal(err)
		}
		for i := range r.Receive(fd) {
			payload, segment := r.Message(i)
			for len(payload) > 0 {
				n := min(segment, len(payload))
				all = append(all, bytes.Clone(payload[:n]))
				payload = payload[n:]
			}
		}
	}
	return all
}

// TestManyAMessage: what is queued arrives, without what is skipped, in order.
func TestManyAMessage(t *testing.T) {
	for _, coalesced := range []bool{false, true} {
		for _, join := range []bool{false, true} {
			in, to := socket(t, coalesced)
			out, from := socket(t, false)
			s := NewSender(8)
			s.Join = join
			text := []byte("..one..two..six..end")
			s.Queue(to, text[:15], 5, 2)
			s.Queue(to, text[15:], 5, 2)
			s.Queue(to, []byte("..4"), 3, 2)
			s.Queue(to, text[:10], 10, 0)
			s.Flush(out)
			got := receive(t, in, 6, coalesced)
			if want := "one two six end 4 ..one..two"; string(bytes.Join(got, []byte(" "))) != want {
				t.Errorf("coalesced %v, joined %v: %q from %s, want %q", coalesced, join, got, from, want)
			}
		}
	}
}
