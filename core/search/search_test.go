package search

import (
	"math"
	"testing"
	"time"
)

var began = time.Unix(1_700_000_000, 0)

func TestChance(t *testing.T) {
	for probes, want := range map[int]float64{0: 0, 174: 0.500, 256: 0.639, 512: 0.871, 1024: 0.9835, 2048: 0.9997, Ports: 1} {
		if got := Chance(Sockets, probes, Ports); math.Abs(got-want) > 0.0006 {
			t.Errorf("%d probes: %.5f, want %.4f", probes, got, want)
		}
	}
}

// TestProber: each port at most once, none below FirstPort, one each ProbeEvery and no
// more than there may be.
func TestProber(t *testing.T) {
	for _, seen := range [][2]uint16{{}, {20000, 20100}, {65000, 65535}, {1030, 1040}} {
		p := NewProber(began, [16]byte{1, 2, 3}, 10*Probes, seen[0], seen[1])
		ports := map[uint16]bool{}
		now, near := began, 0
		for ; !p.Over(now); now = now.Add(time.Millisecond) {
			port, ok := p.Poll(now)
			if !ok {
				continue
			}
			if ports[port] || port < FirstPort || p.Number(port) != len(ports)+1 {
				t.Fatalf("port %d: again, or too low", port)
			}
			ports[port] = true
			if port >= seen[0] && port <= seen[1] {
				near++
			}
			if _, ok := p.Poll(now); ok {
				t.Fatal("two probes at once")
			}
		}
		if took := now.Sub(began); len(ports) != Probes || took < Probes*ProbeEvery || took > Longest {
			t.Errorf("%d ports in %v, want %d in %v at least and %v at most", len(ports), took, Probes, Probes*ProbeEvery, Longest)
		}
		if width := int(seen[1]) - int(seen[0]) + 1; seen[1] != 0 && near != width {
			t.Errorf("ports %d to %d were seen, and %d of them probed", seen[0], seen[1], near)
		}
	}
}

// TestLateDrivers: who comes late catches up, a few probes at once; a busy machine does
// not make a search longer, and nobody's absence makes a flood.
func TestLateDrivers(t *testing.T) {
	for _, c := range []struct {
		late time.Duration
		most int // at once
		all  time.Duration
	}{
		{time.Millisecond, 1, Probes * ProbeEvery},
		{20 * time.Millisecond, 5, Probes*ProbeEvery + 20*time.Millisecond},
		{time.Second, mostBehind + 1, time.Duration(Probes/(mostBehind+1)+2) * time.Second},
	} {
		p := NewProber(began, [16]byte{}, Probes, 0, 0)
		most, now := 0, began
		for ; p.Left() > 0; now = now.Add(c.late) {
			n := 0
			for _, ok := p.Poll(now); ok; _, ok = p.Poll(now) {
				n++
			}
			most = max(most, n)
		}
		if took := now.Sub(began); most > c.most || took > c.all {
			t.Errorf("woken each %v: %d probes at once, all in %v; want %d and %v at most", c.late, most, took, c.most, c.all)
		}
	}
	o := NewOpener(began, Sockets)
	now, n := began, 0
	for ; !o.Opened(); now = now.Add(20 * time.Millisecond) {
		for _, ok := o.Poll(now); ok && !o.Opened(); _, ok = o.Poll(now) {
			n++
		}
	}
	if took := now.Sub(began); took > Sockets*OpenEvery+40*time.Millisecond {
		t.Errorf("opened in %v by a driver that comes each 20 ms", took)
	}
}

// TestPause: what waits sends nothing, and goes on later.
func TestPause(t *testing.T) {
	p := NewProber(began, [16]byte{}, 3, 0, 0)
	p.Poll(began)
	p.Pause(began.Add(time.Second))
	if _, ok := p.Poll(began.Add(999 * time.Millisecond)); ok {
		t.Error("a probe in the pause")
	}
	if _, ok := p.Poll(began.Add(time.Second)); !ok || p.Left() != 1 {
		t.Errorf("no probe after the pause, %d left", p.Left())
	}
}

// TestOpener: every socket once, at its pace; again before NATs forget; and an end.
func TestOpener(t *testing.T) {
	o := NewOpener(began, 10*Sockets)
	sent := map[int]int{}
	var opened, last time.Duration
	for now := began; !o.Over(now); now = now.Add(time.Millisecond) {
		i, ok := o.Poll(now)
		if !ok {
			continue
		}
		sent[i]++
		if last = now.Sub(began); o.Opened() && opened == 0 {
			opened = last
		}
	}
	if len(sent) != Sockets || opened != (Sockets-1)*OpenEvery || sent[0] != 2 || last > Sockets*OpenEvery+Longest {
		t.Errorf("%d sockets, the first %d times; opened after %v, last after %v", len(sent), sent[0], opened, last)
	}
}
