//go:build linux

package ruleset_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"p2pmodel/nat"
	"p2pmodel/nat/ruleset"
	"p2pmodel/nat/table"
)

func masquerade(t testing.TB, axes string) nat.Behavior {
	t.Helper()
	b, err := nat.ParseBehavior("kind=masquerade" + axes)
	must(t, err)
	return b
}

// linux is a kind of the kernel's own NAT.
func linux(kind nat.Kind, early nat.EarlyInbound) nat.Behavior {
	b, _ := kind.Implied()
	b.Early = early
	return b
}

// foreseen gives the model the ports that the kernel drew: the next number is the
// offset of the port that was seen.
type foreseen struct{ offset uint64 }

func (f *foreseen) Uint64() uint64 { return f.offset }

// The kernel's conntrack and the model agree on every packet of random traffic.
// What the kernel draws at random, the model is told: it has to be free there.
func TestConntrackModel(t *testing.T) {
	for _, kind := range []string{"masquerade", "masquerade-random", "masquerade-fully-random"} {
		for _, axes := range []string{"", ",early-inbound=accept", ",range=40000-40006", ",range=40000-40002,early-inbound=accept"} {
			b, err := nat.ParseBehavior("kind=" + kind + axes)
			must(t, err)
			for seed := range uint64(3) {
				t.Run(fmt.Sprintf("%s %d", b, seed), func(t *testing.T) {
					t.Parallel()
					compareTracked(t, b, seed)
				})
			}
		}
	}
}

func compareTracked(t *testing.T, b nat.Behavior, seed uint64) {
	const packets = 120
	n := behind(t, b, 2)
	source := &foreseen{}
	model, err := table.New(b, externalAddrs[:1], rand.New(source))
	must(t, err)
	var inside, outside []*socket
	for h, host := range n.hosts {
		for port := 40001; port <= 40003; port++ {
			inside = append(inside, host.udp(fmt.Sprintf("%s:%d", hostAddr(h), port)))
		}
	}
	for _, a := range []string{outsideA, outsideB} {
		for _, port := range []int{3478, 3479} {
			outside = append(outside, n.outside.udp(fmt.Sprintf("%s:%d", a, port)))
		}
	}
	r := rand.New(rand.NewPCG(seed, 4787))
	pick := func(of []*socket) *socket { return of[r.IntN(len(of))] }
	seen := []netip.AddrPort{netip.AddrPortFrom(externalAddrs[0], 40001)} // external sides
	external := func() netip.AddrPort {
		if r.IntN(2) == 0 {
			return seen[r.IntN(len(seen))]
		}
		return netip.AddrPortFrom(externalAddrs[0], uint16(40000+r.IntN(7)))
	}
	now, history := time.Time{}, ""
	for i := range packets {
		var from *socket
		var to netip.AddrPort
		var judge func(time.Time, table.Packet) table.Verdict
		switch kind := r.IntN(10); {
		case kind < 5:
			from, to, judge = pick(inside), pick(outside).local(), model.Outbound
		case kind < 6:
			from, to, judge = pick(inside), external(), model.Outbound
		default:
			from, to, judge = pick(outside), external(), model.Inbound
		}
		from.send(to, fmt.Sprint(i))
		var at, came netip.AddrPort
		for _, s := range append(inside[:len(inside):len(inside)], outside...) {
			if src, _, ok := s.poll(); ok {
				at, came = s.local(), src
			}
		}
		if came.Addr() == externalAddrs[0] {
			seen = append(seen, came)
			low := nat.DefaultPortRange.Low
			if b.Range.Low > 0 {
				low = b.Range.Low
			}
			source.offset = uint64(came.Port() - low)
		}
		v := judge(now, table.Packet{Src: from.local(), Dst: to})
		history += fmt.Sprintf("%3d: %v > %v: %v\n", i, from.local(), to, v)
		switch {
		case v.Drop != table.Passed && at.IsValid():
			t.Fatalf("packet %d: the model says %v, but %v got it from %v\n%s\n%s", i, v, at, came, history, n.dump())
		case v.Drop == table.Passed && (at != v.Packet.Dst || came != v.Packet.Src):
			t.Fatalf("packet %d: the model says %v, but %v got it from %v\n%s\n%s", i, v, at, came, history, n.dump())
		}
	}
	live, err := ruleset.Mappings(n.conn)
	must(t, err)
	want := make(map[string]bool)
	for _, m := range model.Mappings(now) {
		want[fmt.Sprintf("%v → %v to %v", m.Inside, m.External, m.Remote)] = true
	}
	for _, m := range live {
		text := fmt.Sprintf("%v → %v to %v", m.Inside, m.External, m.Remote)
		if m.Inside != m.External && !want[text] {
			t.Errorf("conntrack has a flow that the model does not have: %s", text)
		}
		delete(want, text)
	}
	if len(want) > 0 {
		t.Errorf("the model has flows that conntrack does not have: %v", want)
	}
}

// Timeouts are those of the behaviour, and a flow that was answered is a stream
// after two seconds.
func TestConntrackTimeouts(t *testing.T) {
	for _, c := range []struct {
		name         string
		answer       bool
		again, alive time.Duration // our second packet, and when the flow still is there
		dead         time.Duration
	}{
		{"no answer", false, 0, 1900 * time.Millisecond, 2100 * time.Millisecond},
		{"no answer, refreshed", false, time.Second, 2900 * time.Millisecond, 3100 * time.Millisecond},
		{"an answer at once", true, time.Second, 2900 * time.Millisecond, 3100 * time.Millisecond},
		{"a stream", true, 2100 * time.Millisecond, 5900 * time.Millisecond, 6300 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := masquerade(t, ",timeout=2s,stream=4s")
			if c.answer && c.again > 2*time.Second {
				b.Timeout = 3 * time.Second // else it is dead before it is a stream
			}
			// Each age is asked of a flow of its own: the question refreshes it.
			for age, want := range map[time.Duration]bool{c.alive: true, c.dead: false} {
				t.Run(age.String(), func(t *testing.T) {
					t.Parallel()
					n := behind(t, b, 1)
					inside, server := n.hosts[0].udp(hostAddr(0)+":5000"), n.outside.udp(outsideA+":3478")
					began := time.Now()
					ext := mapped(inside, server)
					if c.answer {
						server.send(ext, "answer")
						inside.expect("answer")
					}
					if c.again > 0 {
						<-time.After(time.Until(began.Add(c.again)))
						mapped(inside, server)
					}
					<-time.After(time.Until(began.Add(age)))
					if got := reaches(server, ext, inside); got != want {
						t.Errorf("at %v: an answer arrives: %v, want %v", age, got, want)
					}
				})
			}
		})
	}
}
