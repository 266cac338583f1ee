package peer

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// TestMakeBeforeBreak: a host gets a second network, leaves the first a second
// later, and its session does not lose a datagram of either side.
func TestMakeBeforeBreak(t *testing.T) {
	for _, row := range []struct {
		from, to, peer behaviour
		path           PathKind
	}{
		{portRestricted, portRestricted, portRestricted, Direct},
		{portRestricted, portRestricted, fullCone, Direct},
		{fullCone, symmetric, restricted, Direct},
		{symmetric, symmetric, symmetric, Relay},
		{symmetric, portRestricted, portRestricted, Direct},
		{portRestricted, symmetric, portRestricted, Relay},
	} {
		for _, reverse := range []bool{false, true} { // who controls
			name := fmt.Sprintf("%s → %s, peer behind %s, reverse %v", row.from.name, row.to.name, row.peer.name, reverse)
			w := newWorld(t, 1)
			var phone, desk *node
			if reverse {
				desk = w.peer("desk", row.peer, laboratory)
				phone = w.peer("phone", row.from, laboratory)
			} else {
				phone = w.peer("phone", row.from, laboratory)
				desk = w.peer("desk", row.peer, laboratory)
			}
			_, next := w.home(row.to)
			w.net.Run(500 * ms)
			phone.connect(desk)
			w.net.Until(10*time.Second, settled(phone, desk))
			w.net.Run(time.Second)
			session := phone.session(desk)
			was := phone.path(desk).Local
			phone.host.Overlap(next, netip.MustParseAddr("192.168.1.7"))
			gap := w.chat(phone, desk, time.Second)
			phone.host.Leave()
			gap = max(gap, w.chat(phone, desk, 5*time.Second))
			limit := 60 * ms
			if row.from == portRestricted && row.to == symmetric {
				limit = 700 * ms // from a direct path to a relay: the peer finds out by itself
			}
			t.Logf("%s: silent for %v", name, gap)
			if gap > limit {
				t.Errorf("%s: silent for %v, want at most %v\n%s\n%s", name, gap, limit, phone.history(), desk.history())
			}
			w.want(phone, desk, row.path)
			if phone.session(desk) != session || desk.session(phone) != session {
				t.Errorf("%s: the session changed", name)
			}
			if row.path == Direct && phone.path(desk).Local == was {
				t.Errorf("%s: still at %v", name, was)
			}
			if phone.machine.former != nil || len(phone.machine.relays) != 1 {
				t.Errorf("%s: former %v, %d allocations are left", name, phone.machine.former, len(phone.machine.relays))
			}
		}
	}
}

// TestAnAddressThatNothingLeavesBy comes and goes: sessions notice nothing.
func TestAnAddressThatNothingLeavesBy(t *testing.T) {
	for _, b := range []behaviour{portRestricted, symmetric} {
		w := newWorld(t, 1)
		a, c := w.pair(b, symmetric, laboratory)
		w.net.Until(10*time.Second, settled(a, c))
		w.net.Run(time.Second)
		path, allocations := a.path(c), count[RelayReady](a)
		addrs := []netip.Addr{netip.MustParseAddr("192.168.1.2"), netip.MustParseAddr("172.17.0.1")}
		a.runner.Do(func(now time.Time) { a.machine.HandleInterfaces(now, addrs) })
		gap := w.chat(a, c, 5*time.Second)
		a.runner.Do(func(now time.Time) { a.machine.HandleInterfaces(now, addrs[:1]) })
		gap = max(gap, w.chat(a, c, 5*time.Second))
		if gap > 60*ms || a.path(c).Kind != path.Kind || count[RelayReady](a) != allocations || count[PathLost](c) != 0 {
			t.Errorf("%s: silent for %v, path %v → %v, %d allocations\n%s", b.name, gap, path, a.path(c), count[RelayReady](a)-allocations, a.history())
		}
	}
}

// TestAShortOverlap is over before the rendezvous has answered.
func TestAShortOverlap(t *testing.T) {
	w := newWorld(t, 1)
	phone, desk := w.pair(portRestricted, portRestricted, laboratory)
	_, next := w.home(portRestricted)
	w.net.Until(10*time.Second, settled(phone, desk))
	session := phone.session(desk)
	phone.host.Overlap(next, netip.MustParseAddr("192.168.1.7"))
	w.net.Run(30 * ms)
	phone.host.Leave()
	gap := w.chat(phone, desk, 5*time.Second)
	w.want(phone, desk, Direct)
	if gap > time.Second || phone.session(desk) != session {
		t.Errorf("silent for %v", gap)
	}
}

// TestHandoverToAndFro: nothing is delivered twice, whatever path it takes.
func TestHandoverToAndFro(t *testing.T) {
	w := newWorld(t, 1)
	phone, desk := w.pair(portRestricted, portRestricted, laboratory)
	first := phone.segment
	_, second := w.home(fullCone)
	w.net.Until(10*time.Second, settled(phone, desk))
	number := 0
	talk := func(d time.Duration) {
		for end := w.net.Now().Add(d); w.net.Now().Before(end); number++ {
			_ = phone.send(desk, fmt.Sprint(number))
			_ = desk.send(phone, fmt.Sprint(number))
			w.net.Run(10 * ms)
		}
	}
	for i := range 6 {
		to, addr := second, "192.168.1.7"
		if i%2 == 1 {
			to, addr = first, "192.168.1.2"
		}
		phone.host.Overlap(to, netip.MustParseAddr(addr))
		talk(time.Duration(200+300*i) * ms)
		phone.host.Leave()
		talk(time.Second)
	}
	w.want(phone, desk, Direct)
	for _, n := range []*node{phone, desk} {
		sorted := slices.Clone(n.got)
		slices.Sort(sorted)
		if len(slices.Compact(sorted)) != len(n.got) {
			t.Errorf("%s got a datagram twice", n.name)
		}
		if lost := number - len(n.got); lost > number/50 {
			t.Errorf("%s lost %d of %d", n.name, lost, number)
		}
	}
}
