//go:build linux

package ruleset_test

import (
	"net/netip"
	"testing"
	"time"

	"p2pmodel/nat"
	"p2pmodel/nat/ruleset"
)

// Under steady traffic both ways a mapping gets another port each time that it is
// too old, and the port before is closed: for the whole of the idle timeout it is
// nobody's, though the host whose port it would be wants it.
func TestRotation(t *testing.T) {
	t.Parallel()
	b := nat.Behavior{
		Filtering: nat.AddressAndPortDependent, Refresh: nat.RefreshBoth,
		Rotate: 300 * time.Millisecond, Timeout: 600 * time.Millisecond,
	}
	n := behind(t, b, 2)
	inside, rival := n.hosts[0].udp(hostAddr(0)+":5000"), n.hosts[1].udp(hostAddr(1)+":5000")
	server := n.outside.udp(outsideA + ":3478")
	born := time.Now()
	ext := mapped(inside, server)
	for rotations := 0; rotations < 3; <-time.After(5 * time.Millisecond) {
		sent := time.Now()
		inside.send(server.local(), "ping")
		now := server.expect("ping")
		if now == ext {
			if sent.Sub(born) > b.Rotate+precision {
				t.Fatalf("%v is in use after %v", ext, sent.Sub(born))
			}
			server.send(ext, "pong")
			inside.poll()
			continue
		}
		if age := time.Since(born); age < b.Rotate-precision {
			t.Fatalf("%v became %v after %v", ext, now, age)
		}
		if reaches(server, ext, inside) {
			t.Errorf("%v still leads inside", ext)
		}
		if got := mapped(rival, server); got == ext {
			t.Errorf("%v was given to another host at once", ext)
		}
		rotations++
		ext, born = now, sent
	}
}

// No packet is lost by a rotation, and the mappings that are told are those that
// live.
func TestRotationIsTold(t *testing.T) {
	t.Parallel()
	n := behind(t, nat.Behavior{Ports: nat.Sequential, Rotate: 200 * time.Millisecond}, 1)
	inside, server := n.hosts[0].udp(hostAddr(0)+":5000"), n.outside.udp(outsideA+":3478")
	first := mapped(inside, server)
	until(t, func() bool { ms, err := ruleset.Mappings(n.conn); must(t, err); return len(ms) == 0 })
	second := mapped(inside, server)
	if want := netip.AddrPortFrom(first.Addr(), first.Port()+1); second != want {
		t.Errorf("after %v the mapping is %v, want %v", first, second, want)
	}
	ms, err := ruleset.Mappings(n.conn)
	must(t, err)
	if len(ms) != 1 || ms[0].External != second || ms[0].Expires > 200*time.Millisecond {
		t.Errorf("the mappings are\n%swant %v for what is left of its age", ruleset.RenderMappings(ms), second)
	}
}

// A mapping through which packets passed both ways lives for its own time, which
// may be the longer or the shorter one.
func TestStreamTimeout(t *testing.T) {
	for _, times := range [][2]time.Duration{{300 * time.Millisecond, 900 * time.Millisecond}, {900 * time.Millisecond, 300 * time.Millisecond}} {
		b := nat.Behavior{Filtering: nat.AddressAndPortDependent, Timeout: times[0], Stream: times[1]}
		t.Run(b.String(), func(t *testing.T) {
			t.Parallel()
			n := behind(t, b, 1)
			inside, server := n.hosts[0].udp(hostAddr(0)+":5000"), n.outside.udp(outsideA+":3478")
			before := time.Now()
			ext := mapped(inside, server)
			after := time.Now()
			if !reaches(server, ext, inside) {
				t.Fatal("the answer does not arrive")
			}
			// The answer made it a stream, but only the next packet restarts the timer.
			lifetime(t, before, after, b.Timeout, func() bool { return reaches(server, ext, inside) })

			mapped(inside, server)
			reaches(server, ext, inside)
			before = time.Now()
			if got := mapped(inside, server); got != ext {
				t.Fatalf("mapped to %v, want %v", got, ext)
			}
			lifetime(t, before, time.Now(), b.Stream, func() bool { return reaches(server, ext, inside) })
		})
	}
}
