package virtual_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"p2pmodel/sim"
	"p2pmodel/sim/link"
	"p2pmodel/sim/virtual"
	"p2pmodel/sim/witness"
)

// TestLinks: what each impairment does to a hundred packets up.
func TestLinks(t *testing.T) {
	for _, c := range []struct {
		impairment string
		check      func(n *virtual.Network, b *talker, up link.Counts) string // empty: as it should be
	}{
		{"delay: 20ms", func(_ *virtual.Network, b *talker, _ link.Counts) string {
			if first := b.heard[0]; !strings.HasPrefix(first, "20.01ms ") {
				return "the first came at " + first
			}
			return ""
		}},
		{"loss: 30%", func(n *virtual.Network, b *talker, up link.Counts) string {
			lost := strings.Count(drops(t, n), "loss at the link of a, after a")
			if up.By[link.Loss] != uint64(lost) || lost < 15 || lost > 45 || len(b.heard)+lost != 100 {
				return fmt.Sprintf("%d lost of %+v, %d heard", lost, up, len(b.heard))
			}
			return ""
		}},
		{"duplicate: 50%", func(_ *virtual.Network, b *talker, up link.Counts) string {
			if up.Duplicated < 30 || len(b.heard) != 100+int(up.Duplicated) {
				return fmt.Sprintf("%d heard of %+v", len(b.heard), up)
			}
			return ""
		}},
		{"rate: 100kbit, queue: 3000", func(_ *virtual.Network, b *talker, up link.Counts) string {
			if up.By[link.Queue] == 0 || uint64(len(b.heard)) != up.Delivered || up.Delivered+up.By[link.Queue] != up.Offered {
				return fmt.Sprintf("%d heard of %+v", len(b.heard), up)
			}
			return ""
		}},
		{"delay: 20ms, overtake: 20%", func(_ *virtual.Network, b *talker, up link.Counts) string {
			if up.Overtook < 5 || len(b.heard) != 100 {
				return fmt.Sprintf("%d heard of %+v", len(b.heard), up)
			}
			return ""
		}},
		{"corrupt: 50%", func(n *virtual.Network, b *talker, up link.Counts) string {
			damaged := up.By[link.Corrupt]
			wrong := uint64(0)
			for _, p := range n.Packets() {
				if p.Point.Node == "b" && !witness.ChecksumValid(p.Data) {
					wrong++
				}
			}
			if damaged < 30 || wrong != damaged || uint64(len(b.heard)) != 100-damaged || up.Delivered != 100 {
				return fmt.Sprintf("%d heard, %d wrong, of %+v", len(b.heard), wrong, up)
			}
			return ""
		}},
		{"mtu: {size: 600, icmp: false}", func(n *virtual.Network, b *talker, up link.Counts) string {
			if up.By[link.TooLarge] != 50 || len(b.heard) != 50 || strings.Count(drops(t, n), "mtu at the link of a") != 50 {
				return fmt.Sprintf("%d heard of %+v", len(b.heard), up)
			}
			return ""
		}},
	} {
		n := build(t, `lab: {hosts: {a: , b: }, links: {a: {up: {`+c.impairment+`}}}}`)
		a, b := talk(t, n, "a", 1), talk(t, n, "b", 2)
		for i := range 100 {
			a.say("198.18.0.3:2", fmt.Sprint(i, strings.Repeat(" ", 700*(i%2))))
		}
		elapse(t, n, time.Minute)
		up, _ := linkOf(t, n, "a").Counts()
		if wrong := c.check(n, b, up); wrong != "" {
			t.Errorf("%s: %s", c.impairment, wrong)
		}
		if late, _ := linkOf(t, n, "a").Late(); late != (link.Lateness{Packets: up.Delivered}) || n.Err() != nil {
			t.Errorf("%s: lateness %+v, fault %v", c.impairment, late, n.Err())
		}
	}
}

// TestFaultsOfLinks: what a cut and black holes take, on a declared link and on a
// plain one, and that they end.
func TestFaultsOfLinks(t *testing.T) {
	for name, links := range map[string]string{"plain": "", "declared": ", links: {a: {delay: 5ms}}"} {
		n := build(t, `lab: {hosts: {a: , b: }`+links+`}`)
		a, b := talk(t, n, "a", 1), talk(t, n, "b", 2)
		l := linkOf(t, n, "a")
		both := func() string {
			a.say("198.18.0.3:2", "up")
			b.say("198.18.0.2:1", "down")
			elapse(t, n, time.Second)
			return a.words() + ";" + b.words()
		}
		const down, up = "198.18.0.3:2 down", "198.18.0.2:1 up"
		for _, s := range []struct {
			do   func() error
			want string
		}{
			{func() error { return nil }, down + ";" + up},
			{l.Cut, ";"}, {l.Restore, down + ";" + up},
			{func() error { return l.Blackhole(sim.Up) }, down + ";"},
			{func() error { return l.Blackhole(sim.Down) }, ";"},
			{l.Restore, down + ";" + up},
		} {
			if err := s.do(); err != nil {
				t.Fatal(err)
			}
			equal(t, name+": heard", both(), s.want)
		}
		lostUp, lostDown := l.Lost()
		if lostUp != 3 || lostDown != 2 {
			t.Errorf("%s: %d lost up and %d down, want 3 and 2", name, lostUp, lostDown)
		}
		equal(t, name+": drops", drops(t, n), `cut at the link of a, after a (198.18.0.2:1 → 198.18.0.3:2)
cut at the link of a, after internet (198.18.0.3:2 → 198.18.0.2:1)
blackhole at the link of a, after a (198.18.0.2:1 → 198.18.0.3:2)
blackhole at the link of a, after a (198.18.0.2:1 → 198.18.0.3:2)
blackhole at the link of a, after internet (198.18.0.3:2 → 198.18.0.2:1)`)
		if err := l.Blackhole("sideways"); err == nil {
			t.Error("an unknown direction is no error")
		}
	}
}

// TestACutTakesWhatIsUnderWay on a declared link, as a wire's does.
func TestACutTakesWhatIsUnderWay(t *testing.T) {
	n := build(t, `lab: {hosts: {a: , b: }, links: {a: {delay: 50ms}}}`)
	a, b := talk(t, n, "a", 1), talk(t, n, "b", 2)
	a.say("198.18.0.3:2", "too slow")
	elapse(t, n, 10*ms)
	l := linkOf(t, n, "a")
	if err := l.Cut(); err != nil {
		t.Fatal(err)
	}
	elapse(t, n, time.Second)
	if up, _ := l.Lost(); up != 1 || len(b.heard) != 0 {
		t.Errorf("the cut took %d, and %d arrived", up, len(b.heard))
	}
}

// TestImpairments change while the lab stands, on links that it declares.
func TestImpairments(t *testing.T) {
	n := build(t, `lab: {hosts: {a: , b: }, links: {a: {}}}`)
	a, b := talk(t, n, "a", 1), talk(t, n, "b", 2)
	l := linkOf(t, n, "a")
	if err := linkOf(t, n, "b").Impair(link.Impairment{}, link.Impairment{}); !errors.Is(err, virtual.ErrPlainLink) {
		t.Errorf("a plain link is impaired: %v", err)
	}
	if err := l.Impair(link.Impairment{Loss: 2}, link.Impairment{}); err == nil {
		t.Error("a loss of 200 % is no error")
	}
	want := link.Impairment{Delay: 30 * ms}
	if err := l.Impair(want, link.Impairment{}); err != nil {
		t.Fatal(err)
	}
	if up, down := l.Impairments(); up != want || !down.IsZero() {
		t.Errorf("the impairments are %v, %v", up, down)
	}
	a.say("198.18.0.3:2", "slow")
	elapse(t, n, time.Second)
	equal(t, "b heard", strings.Join(b.heard, ""), "30.01ms 198.18.0.2:1 slow")
}

// TestTooLargePackets: with DF they are answered by the head of the narrow link,
// and the sender's system learns it: then they pass, as fragments would.
func TestTooLargePackets(t *testing.T) {
	n := build(t, `lab:
  routers: {home: {nat: port-restricted-cone}}
  hosts: {inside: {behind: home}, server: }
  links: {home: {up: {mtu: 1280}}}
`)
	inside, server := talk(t, n, "inside", 5000), talk(t, n, "server", 700)
	large := strings.Repeat("x", 1281-28)
	inside.say("198.18.0.3:700", large[1:])
	elapse(t, n, ms)
	if len(server.heard) != 1 {
		t.Fatalf("what just fits does not arrive: %d heard", len(server.heard))
	}
	inside.say("198.18.0.3:700", large)
	elapse(t, n, ms)
	told := n.Packets()[len(n.Packets())-1]
	equal(t, "the last packet", fmt.Sprintf("%v %v %s", told.Point, told.Direction, witness.Summary(told)),
		"inside:uplink in ICMP fragmentation needed")
	if mtu := binary.BigEndian.Uint16(told.Data[26:]); mtu != 1280 {
		t.Errorf("an MTU of %d is told, want 1280", mtu)
	}
	inside.say("198.18.0.3:700", large)
	elapse(t, n, ms)
	if len(server.heard) != 2 {
		t.Errorf("%d heard, want the one that fits and the one that was sent again", len(server.heard))
	}
	intact(t, n.Packets())
}
