package virtual_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"p2pmodel/sim"
	"p2pmodel/sim/witness"
)

// stageOf is a lab in which every event can happen.
const stageOf = `
lab:
  routers:
    home: {nat: port-restricted-cone}
    shared: {nat: full-cone}
    carrier: {nat: symmetric}
  hosts:
    phone:
      uplinks: {wifi: {behind: home}, 4g: {behind: carrier}}
    laptop: {behind: shared}
    tv: {behind: shared}
    server: {}
    other: {}
  links:
    laptop: {delay: 1ms}
    phone/4g: {delay: 2ms}
`

// event does an event that is given as on the command line.
func event(tb testing.TB, d *sim.Director, n sim.Network, line string) *sim.Occurrence {
	tb.Helper()
	e, err := sim.ParseEventText(n.Lab(), line)
	if err != nil {
		tb.Fatal(err)
	}
	o, err := d.Apply(tb.Context(), e)
	if err != nil {
		tb.Fatal(err)
	}
	return o
}

// want checks the state and the sentence of a proof.
func want(tb testing.TB, o *sim.Occurrence, state sim.ProofState, text string) {
	tb.Helper()
	if p := o.Proof(); p.State != state || !strings.Contains(p.Text, text) {
		tb.Errorf("%s: %s: %s; want %s, with %q", o.Event, p.State, p.Text, state, text)
	}
}

// captured counts the datagrams at a node, in a direction, since a time.
func captured(n sim.Network, node string, way witness.Direction, since time.Time) (count int) {
	for _, p := range n.Packets() {
		if p.Point.Node == node && p.Direction == way && !p.At.Before(since) && p.Protocol == 17 {
			count++
		}
	}
	return count
}

func TestEventsOfANATsTable(t *testing.T) {
	n := stand(t, stageOf, sim.Options{Seed: 1})
	d := sim.NewDirector(n)
	echo, other := server(t, n, "server"), server(t, n, "other")
	laptop, tv := client(t, n, "laptop"), client(t, n, "tv")
	stranger := speak(t, n, "other", &voice{local: anyAddress(9)})
	enters := func(to netip.AddrPort) bool {
		before := len(laptop.heard)
		stranger.say(to, "knock")
		pass(t, n, patient)
		return len(laptop.heard) > before
	}
	want(t, event(t, d, n, "flush shared"), sim.Nothing, "forgot 0 mappings")
	first := laptop.seen(echo)
	if !enters(first) {
		t.Fatal("nobody reaches a host behind a full cone")
	}
	sealed, err := routerOf(t, n, "shared").Fingerprint()
	if err != nil {
		t.Fatal(err)
	}
	want(t, event(t, d, n, "flush shared"), sim.Proved, "forgot 1 mapping;")
	if enters(first) {
		t.Error("a mapping outlived the flush")
	}
	if again := laptop.seen(echo); again != first {
		t.Errorf("after the flush the port is %v, before it was %v", again, first)
	}
	neighbour := tv.seen(echo)
	o := event(t, d, n, "rebind shared host=laptop")
	want(t, o, sim.Proved, "silently ended 1 mapping of laptop;")
	if before := o.Proof().Before; len(before) != 1 || !strings.Contains(before[0], "→ "+first.String()+" (to any)") {
		t.Errorf("what ended is %q, want the mapping of %v", before, first)
	}
	if enters(first) {
		t.Error("the old port is open after the rebinding")
	}
	second := laptop.seen(echo)
	if second == first || second.Addr() != first.Addr() || !enters(second) || enters(first) {
		t.Errorf("after the rebinding the server sees %v, before %v: want another port of the same address, and that alone open", second, first)
	}
	if still := tv.seen(echo); still != neighbour {
		t.Errorf("the neighbour was at %v, and is at %v", neighbour, still)
	}
	if now, err := routerOf(t, n, "shared").Fingerprint(); err != nil || now != sealed {
		t.Errorf("flushes and rebindings changed what the router is (%v)", err)
	}
	want(t, event(t, d, n, "reboot shared new-address=true"), sim.Proved, first.Addr().String())
	if from := laptop.seen(echo); from.Addr() == first.Addr() {
		t.Errorf("after the reboot the server sees %v, the address from before", from)
	}
	want(t, event(t, d, n, "swap router=shared nat=symmetric"), sim.Proved, "mapping=APDM")
	if a, b := laptop.seen(echo), laptop.seen(other); a == b {
		t.Errorf("behind a symmetric NAT both servers see %v", a)
	}
	if now, err := routerOf(t, n, "shared").Fingerprint(); err != nil || now == sealed {
		t.Errorf("after a swap the fingerprint is the same (%v)", err)
	}
}

// Mappings are told in the words of the kernel's fabric.
func TestMappingsAreTold(t *testing.T) {
	for behavior, want := range map[string]string{
		"full-cone,timeout=30s":                 `udp 192.168.1.2:5000 → 198.18.0.2:5000 (to any) expires 30s; from any`,
		"restricted-cone,timeout=30s":           `udp 192.168.1.2:5000 → 198.18.0.2:5000 (to any) expires 30s; from 198.18.0.3 for 30s`,
		"port-restricted-cone,timeout=30s":      `udp 192.168.1.2:5000 → 198.18.0.2:5000 (to any) expires 30s; from 198.18.0.3:4222 for 30s`,
		"symmetric,ports=preserve,timeout=30s":  `udp 192.168.1.2:5000 → 198.18.0.2:5000 (to 198.18.0.3:4222) expires 30s; from 198.18.0.3:4222 for 30s`,
		"kind=masquerade,timeout=30s,stream=2m": `udp 192.168.1.2:5000 → 198.18.0.2:5000 (to 198.18.0.3:4222) expires`,
	} {
		n := stand(t, fmt.Sprintf("lab:\n  routers: {nat: {nat: %q}}\n  hosts: {a: {behind: nat}, server: {}}\n", behavior), sim.Options{Seed: 1})
		echo := server(t, n, "server")
		client(t, n, "a").seen(echo)
		got, err := routerOf(t, n, "nat").Mappings()
		if err != nil || !strings.HasPrefix(got, want) || strings.Count(got, "\n") != 1 {
			t.Errorf("%s: %q (%v), want %q", behavior, got, err, want)
		}
	}
}

func TestABlackHoleSwallowsOneDirection(t *testing.T) {
	n := stand(t, stageOf, sim.Options{Seed: 1})
	d := sim.NewDirector(n)
	echo := server(t, n, "server")
	for _, name := range []string{"laptop", "tv"} { // declared, and plain
		c := client(t, n, name)
		c.seen(echo)
		began := n.Now()
		up := event(t, d, n, fmt.Sprintf("blackhole link=%s direction=up", name))
		want(t, up, sim.Pending, "in force")
		if answer := c.ask(echo); answer != "" {
			t.Errorf("%s: through a black hole came %q", name, answer)
		}
		if captured(n, name, witness.Out, began) != 1 || captured(n, "shared", witness.In, began) != 0 {
			t.Errorf("%s: the packet has to leave the host and to be seen nowhere else", name)
		}
		want(t, event(t, d, n, "restore "+name), sim.Proved, "took 1 packets")
		want(t, up, sim.Proved, "took 1 packets")
		began = n.Now()
		down := event(t, d, n, fmt.Sprintf("blackhole link=%s direction=down", name))
		if answer := c.ask(echo); answer != "" {
			t.Errorf("%s: through a black hole came %q", name, answer)
		}
		if captured(n, "server", witness.In, began) != 1 || captured(n, name, witness.In, began) != 0 {
			t.Errorf("%s: the question has to arrive, and its answer not", name)
		}
		event(t, d, n, "restore "+name)
		want(t, down, sim.Proved, "took 1 packets")
		c.seen(echo)
		want(t, event(t, d, n, fmt.Sprintf("blackhole link=%s direction=up for=20ms", name)), sim.Nothing, "met no packet")
	}
}

func TestFaultsAreProvedWhenTheyEnd(t *testing.T) {
	n := stand(t, stageOf, sim.Options{Seed: 1})
	d := sim.NewDirector(n)
	echo := server(t, n, "server")
	tv, laptop := client(t, n, "tv"), client(t, n, "laptop")
	cut := event(t, d, n, "cut tv")
	restricted := event(t, d, n, "restrict host=laptop to=other")
	parted := event(t, d, n, "partition server|other")
	tv.ask(echo)
	laptop.ask(echo)
	for _, o := range []*sim.Occurrence{cut, restricted, parted} {
		want(t, o, sim.Pending, "in force")
	}
	want(t, event(t, d, n, "unrestrict laptop"), sim.Proved, "took 1 packets")
	laptop.seen(echo)
	if err := d.Finish(); err != nil {
		t.Fatal(err)
	}
	want(t, restricted, sim.Proved, "took 1 packets")
	want(t, cut, sim.Proved, "took 1 packets")
	want(t, parted, sim.Nothing, "met no packet")
	want(t, event(t, d, n, "heal"), sim.Nothing, "was not parted")
	for cause, count := range map[witness.Cause]int{"cut": 1, "restriction": 1} {
		drops, err := n.Drops()
		if err != nil {
			t.Fatal(err)
		}
		got := 0
		for _, drop := range drops {
			if drop.Cause == cause {
				got++
			}
		}
		if got != count {
			t.Errorf("%d drops say %q, want %d: %v", got, cause, count, drops)
		}
	}
}

func TestALinkFlapsBySchedule(t *testing.T) {
	n := stand(t, stageOf, sim.Options{Seed: 1})
	d := sim.NewDirector(n)
	echo := server(t, n, "server")
	c := client(t, n, "laptop")
	over := false
	spoken := n.Go(func() {
		for !over {
			c.say(echo, "x")
			pass(t, n, 2*time.Millisecond)
		}
	})
	o := event(t, d, n, "flap link=laptop down=60ms every=120ms for=360ms")
	over = true
	if err := sim.WaitAll(n, spoken); err != nil {
		t.Fatal(err)
	}
	want(t, o, sim.Proved, "was down 3 times for 60ms")
	silences, last := 0, o.Begin
	for _, p := range n.Packets() {
		if p.Point.Node != "shared" || p.Direction != witness.In || p.Dst != echo {
			continue
		}
		if p.At.Sub(last) >= 55*time.Millisecond {
			silences++
		}
		last = p.At
	}
	if silences != 3 {
		t.Errorf("%d silences, want 3", silences)
	}
}

func TestHandovers(t *testing.T) {
	n := stand(t, stageOf, sim.Options{Seed: 1})
	d := sim.NewDirector(n)
	phone, echo := hostOf(t, n, "phone"), server(t, n, "server")
	home, carrier := routerOf(t, n, "home").External()[0], routerOf(t, n, "carrier").External()[0]
	free := client(t, n, "phone")
	if from := free.seen(echo); from.Addr() != home {
		t.Fatalf("the server sees %v, want %v", from, home)
	}
	wifi, mobile := n.Plan().Addresses("phone", "wifi")[0], n.Plan().Addresses("phone", "4g")[0]
	kept := speak(t, n, "phone", &voice{local: netip.AddrPortFrom(wifi, 6000)})
	kept.seen(echo)

	// Make before break: a socket of the old address goes on by the old uplink until
	// the overlap is over; one without an address goes by the new one at once.
	var o *sim.Occurrence
	move := func(line string) <-chan struct{} { return n.Go(func() { o = event(t, d, n, line) }) }
	done := move("move host=phone uplink=4g overlap=4s")
	pass(t, n, time.Second)
	if phone.Active() != "4g" {
		t.Fatalf("in the overlap the active uplink is %q", phone.Active())
	}
	if from := free.seen(echo); from.Addr() != carrier {
		t.Errorf("in the overlap the server sees %v, want %v of the new uplink", from, carrier)
	}
	if from := kept.seen(echo); from.Addr() != home {
		t.Errorf("in the overlap a socket of the old address is seen at %v, want %v", from, home)
	}
	if addrs, err := phone.Addresses(); err != nil || len(addrs) != 2 {
		t.Errorf("in the overlap the phone has %v (%v), want both addresses", addrs, err)
	}
	if err := sim.WaitAll(n, done); err != nil {
		t.Fatal(err)
	}
	want(t, o, sim.Proved, "from wifi to 4g, with both for 4s")
	if took := o.End.Sub(o.Begin); took != 4*time.Second {
		t.Errorf("an overlap of 4 s took %v", took)
	}
	began := n.Now()
	if kept.ask(echo); captured(n, "phone", witness.Out, began) != 0 {
		t.Error("after the overlap a socket of the old address can still send")
	}
	if addrs, err := phone.Addresses(); err != nil || !slices.Equal(addrs, []netip.Addr{mobile}) {
		t.Errorf("after the overlap the phone has %v (%v)", addrs, err)
	}

	// Break before make, with darkness between.
	done = move("move host=phone uplink=wifi gap=3s")
	pass(t, n, time.Second)
	if addrs, err := phone.Addresses(); err != nil || len(addrs) != 0 || phone.Active() != "" {
		t.Errorf("in the gap the phone has %v on %q (%v)", addrs, phone.Active(), err)
	}
	dark := n.Now()
	free.say(echo, "lost")
	pass(t, n, time.Second)
	if sent := captured(n, "phone", witness.Out, dark); sent > 0 {
		t.Errorf("in the gap the phone sent %d packets", sent)
	}
	if err := sim.WaitAll(n, done); err != nil {
		t.Fatal(err)
	}
	want(t, o, sim.Proved, "from 4g to wifi after 3s without any")
	if from := free.seen(echo); from.Addr() != home {
		t.Errorf("after the gap the server sees %v, want %v", from, home)
	}
	want(t, event(t, d, n, "move host=phone uplink=wifi"), sim.Nothing, "")

	// The machine was told each time.
	var told []string
	for _, addrs := range free.told {
		told = append(told, fmt.Sprint(addrs))
	}
	both, one, two := fmt.Sprint([]netip.Addr{wifi, mobile}), fmt.Sprint([]netip.Addr{wifi}), fmt.Sprint([]netip.Addr{mobile})
	if want := []string{one, both, two, "[]", one}; !slices.Equal(told, want) {
		t.Errorf("the machine heard of %v, want %v", told, want)
	}

	// One that is cancelled in its gap ends on the new uplink; two at once come one
	// after the other.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := phone.Handover(ctx, sim.Handover{Uplink: "4g", Gap: time.Minute}); !errors.Is(err, context.Canceled) || phone.Active() != "4g" {
		t.Errorf("a cancelled handover: %v, on %q", err, phone.Active())
	}
	first := n.Go(func() { _ = phone.Handover(t.Context(), sim.Handover{Uplink: "wifi", Gap: time.Second}) })
	second := n.Go(func() { _ = phone.Handover(t.Context(), sim.Handover{Uplink: "4g", Gap: time.Second}) })
	began = n.Now()
	if err := sim.WaitAll(n, first, second); err != nil || phone.Active() != "4g" || n.Now().Sub(began) != 2*time.Second {
		t.Errorf("two handovers: on %q after %v (%v)", phone.Active(), n.Now().Sub(began), err)
	}
	for h, text := range map[sim.Handover]string{
		{Uplink: "5g"}: `no uplink "5g"; it has wifi, 4g`, {Uplink: "wifi", Gap: 1, Overlap: 1}: "one of them may be more than 0",
	} {
		if err := phone.Handover(t.Context(), h); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%+v: %v, want %q", h, err, text)
		}
	}
}

func TestImpairingForATime(t *testing.T) {
	n := stand(t, stageOf, sim.Options{Seed: 1})
	echo := server(t, n, "server")
	c := client(t, n, "laptop")
	var o *sim.Occurrence
	done := n.Go(func() { o = event(t, sim.NewDirector(n), n, "impair link=laptop up={delay: 80ms} for=500ms") })
	pass(t, n, time.Millisecond)
	began := n.Now()
	if c.seen(echo); n.Now().Sub(began) < 80*time.Millisecond {
		t.Errorf("a round trip over 80 ms took %v", n.Now().Sub(began))
	}
	if err := sim.WaitAll(n, done); err != nil {
		t.Fatal(err)
	}
	want(t, o, sim.Proved, "delay: 80ms")
	l, err := n.Link(sim.LinkID{Node: "laptop"})
	if err != nil {
		t.Fatal(err)
	}
	if up, _ := l.Impairments(); up.Delay != time.Millisecond {
		t.Errorf("after its time the link has %v, want 1 ms again", up)
	}
}

// A timeline does its events at their times, to the nanosecond.
func TestATimelineRuns(t *testing.T) {
	n := stand(t, stageOf, sim.Options{Seed: 1})
	client(t, n, "laptop").seen(server(t, n, "server"))
	entry := func(at time.Duration, line string) sim.Scheduled {
		e, err := sim.ParseEventText(n.Lab(), line)
		if err != nil {
			t.Fatal(err)
		}
		return sim.Scheduled{At: at, Event: e}
	}
	flush := entry(50*time.Minute, "flush shared")
	flush.Every, flush.Times = 50*time.Minute, 3
	line := sim.Timeline{entry(0, "cut tv for=300ms"), flush, entry(time.Hour, "blackhole link=laptop direction=up")}
	var done []string
	began := n.Now()
	if err := line.Run(t.Context(), n, 1, func(o *sim.Occurrence) {
		done = append(done, fmt.Sprintf("%s at %v", o.Event.Kind, o.Begin.Sub(began)))
	}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(done)
	if want := []string{"blackhole at 1h0m0s", "cut at 0s", "flush at 1h40m0s", "flush at 2h30m0s", "flush at 50m0s"}; !slices.Equal(done, want) {
		t.Errorf("done were %q, want %q", done, want)
	}
}
