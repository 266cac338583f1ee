//go:build linux

package kernel_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"p2pmodel/sim"
	"p2pmodel/sim/kernel"
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
func event(tb testing.TB, d *sim.Director, n *kernel.Network, line string) *sim.Occurrence {
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

// captured are the packets at a point, in a direction, since a time.
func captured(n *kernel.Network, node string, way witness.Direction, since time.Time, is func(witness.Packet) bool) (found []witness.Packet) {
	for _, p := range n.Packets() {
		if p.Point.Node == node && p.Direction == way && !p.At.Before(since) && p.Protocol == 17 && is(p) {
			found = append(found, p)
		}
	}
	return found
}

func everything(witness.Packet) bool { return true }

func TestEventsOfANATsTable(t *testing.T) {
	n := stand(t, stageOf)
	d := sim.NewDirector(n)
	server := echo(t, host(t, n, "server"), addressOf(n, "server"))
	stranger := bind(t, host(t, n, "other"))
	laptop, tv := bind(t, host(t, n, "laptop")), bind(t, host(t, n, "tv"))
	enters := func(conn net.PacketConn, to netip.AddrPort) bool {
		if _, err := stranger.WriteTo([]byte("knock"), net.UDPAddrFromAddrPort(to)); err != nil {
			t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(brief))
		_, _, err := conn.ReadFrom(make([]byte, 100))
		return err == nil
	}

	want(t, event(t, d, n, "flush shared"), sim.Nothing, "forgot 0 mappings")
	first := seenFrom(t, laptop, server)
	if !enters(laptop, first) {
		t.Fatal("nobody reaches a host behind a full cone")
	}
	sealed, err := router(t, n, "shared").Fingerprint()
	if err != nil {
		t.Fatal(err)
	}

	// A flush forgets, and the same port is free again.
	want(t, event(t, d, n, "flush shared"), sim.Proved, "forgot 1 mapping;")
	if enters(laptop, first) {
		t.Error("a mapping outlived the flush")
	}
	if again := seenFrom(t, laptop, server); again != first {
		t.Errorf("after the flush the port is %v, before it was %v", again, first)
	}

	// Rebinding one host: its port is another one although it could be preserved,
	// the old one is closed, and the neighbour's stays.
	neighbour := seenFrom(t, tv, server)
	began := n.Now()
	o := event(t, d, n, "rebind shared host=laptop")
	want(t, o, sim.Proved, "silently ended 1 mapping of laptop;")
	if before := o.Proof().Before; len(before) != 1 || !strings.Contains(before[0], first.String()) {
		t.Errorf("what ended is %q, want the mapping of %v", before, first)
	}
	if enters(laptop, first) {
		t.Error("the old port is open after the rebinding")
	}
	second := seenFrom(t, laptop, server)
	if second == first || second.Addr() != first.Addr() {
		t.Errorf("after the rebinding the server sees %v, before %v: want another port of the same address", second, first)
	}
	if !enters(laptop, second) || enters(laptop, first) {
		t.Error("after the rebinding the new port has to be open and the old one closed")
	}
	if still := seenFrom(t, tv, server); still != neighbour {
		t.Errorf("the neighbour was at %v, and is at %v", neighbour, still)
	}
	// The wire says the same.
	seen := captured(n, "server", witness.In, began, func(p witness.Packet) bool { return p.Dst == server && p.Src == second })
	if len(seen) != 1 {
		t.Errorf("%d packets came from %v, want 1", len(seen), second)
	}
	event(t, d, n, "rebind shared")
	if third := seenFrom(t, tv, server); third == neighbour {
		t.Errorf("the router was rebound, and tv is still at %v", third)
	}
	if now, err := router(t, n, "shared").Fingerprint(); err != nil || now != sealed {
		t.Errorf("flushes and rebindings changed the router's rules (%v)", err)
	}

	want(t, event(t, d, n, "reboot shared new-address=true"), sim.Proved, first.Addr().String())
	if from := seenFrom(t, laptop, server); from.Addr() == first.Addr() {
		t.Errorf("after the reboot the server sees %v, the address from before", from)
	}
	want(t, event(t, d, n, "swap router=shared nat=symmetric"), sim.Proved, "mapping=APDM")
	if a, b := seenFrom(t, laptop, server), seenFrom(t, laptop, echo(t, host(t, n, "other"), addressOf(n, "other"))); a == b {
		t.Errorf("behind a symmetric NAT both servers see %v", a)
	}
}

// Whatever a NAT looks at, its mappings are rebound: keys with and without the
// remote side, filters of mappings and of endpoints.
func TestRebindingOfAllKindsOfMappings(t *testing.T) {
	for _, behaviour := range []string{
		"mapping=EIM,filtering=EIF", "mapping=EIM,filtering=APDF,scope=endpoint", "mapping=ADM,filtering=ADF",
		"mapping=APDM,filtering=APDF,ports=sequential", "mapping=APDM,filtering=APDF,ports=random,refresh=both",
		"mapping=EIM,filtering=APDF,fallback=random,parity=keep", "mapping=EIM,filtering=APDF,ports=block,block=64",
		"mapping=APDM,filtering=APDF,timeout=10s,stream=30s", "mapping=EIM,filtering=APDF,rotate=1m",
	} {
		t.Run(behaviour, func(t *testing.T) {
			n := stand(t, fmt.Sprintf("lab:\n  routers: {nat: {nat: %q}}\n  hosts: {a: {behind: nat}, server: {}, other: {}}\n", behaviour))
			servers := []netip.AddrPort{echo(t, host(t, n, "server"), addressOf(n, "server")), echo(t, host(t, n, "other"), addressOf(n, "other"))}
			conn := bind(t, host(t, n, "a"))
			var before []netip.AddrPort
			for _, s := range servers {
				before = append(before, seenFrom(t, conn, s))
			}
			o := event(t, sim.NewDirector(n), n, "rebind nat")
			if want := len(slices.Compact(slices.Clone(before))); len(o.Proof().Before) != want {
				t.Errorf("%d mappings ended, want %d: %q", len(o.Proof().Before), want, o.Proof().Before)
			}
			if len(o.Proof().After) > 0 {
				t.Errorf("live after the rebinding: %q", o.Proof().After)
			}
			for i, s := range servers {
				if now := seenFrom(t, conn, s); slices.Contains(before, now) {
					t.Errorf("%v sees %v, which it was before the rebinding (%v)", s, now, before[i])
				}
			}
		})
	}
}

func TestABlackHoleSwallowsOneDirection(t *testing.T) {
	n := stand(t, stageOf)
	d := sim.NewDirector(n)
	server := echo(t, host(t, n, "server"), addressOf(n, "server"))
	for _, name := range []string{"laptop", "tv"} { // with a wire, and plain
		conn := bind(t, host(t, n, name))
		seenFrom(t, conn, server)

		began := n.Now()
		up := event(t, d, n, fmt.Sprintf("blackhole link=%s direction=up", name))
		want(t, up, sim.Pending, "in force")
		if answer := ask(t, conn, server, brief); answer != "" {
			t.Errorf("%s: through a black hole came %q", name, answer)
		}
		if len(captured(n, name, witness.Out, began, everything)) != 1 || len(captured(n, "shared", witness.In, began, everything)) != 0 {
			t.Errorf("%s: the packet has to leave the host and to be seen nowhere else", name)
		}
		want(t, event(t, d, n, "restore "+name), sim.Proved, "took 1 packets")
		want(t, up, sim.Proved, "took 1 packets")

		began = n.Now()
		down := event(t, d, n, fmt.Sprintf("blackhole link=%s direction=down", name))
		if answer := ask(t, conn, server, brief); answer != "" {
			t.Errorf("%s: through a black hole came %q", name, answer)
		}
		if len(captured(n, "server", witness.In, began, everything)) != 1 || len(captured(n, name, witness.In, began, everything)) != 0 {
			t.Errorf("%s: the question has to arrive, and its answer not", name)
		}
		event(t, d, n, "restore "+name)
		want(t, down, sim.Proved, "took 1 packets")
		seenFrom(t, conn, server)

		none := event(t, d, n, fmt.Sprintf("blackhole link=%s direction=up for=20ms", name))
		want(t, none, sim.Nothing, "met no packet")
		seenFrom(t, conn, server)
	}
	want(t, event(t, d, n, "restore tv"), sim.Nothing, "nothing was in force")
}

// What is still in force at the end is proved then.
func TestFaultsAreProvedWhenTheyEnd(t *testing.T) {
	n := stand(t, stageOf)
	d := sim.NewDirector(n)
	server := echo(t, host(t, n, "server"), addressOf(n, "server"))
	tv, laptop := bind(t, host(t, n, "tv")), bind(t, host(t, n, "laptop"))
	cut := event(t, d, n, "cut tv")
	restricted := event(t, d, n, "restrict host=laptop to=other")
	parted := event(t, d, n, "partition server|other")
	ask(t, tv, server, brief)
	ask(t, laptop, server, brief)
	for _, o := range []*sim.Occurrence{cut, restricted, parted} {
		want(t, o, sim.Pending, "in force")
	}
	want(t, event(t, d, n, "unrestrict laptop"), sim.Proved, "took 1 packets")
	seenFrom(t, laptop, server)
	if err := d.Finish(); err != nil {
		t.Fatal(err)
	}
	want(t, restricted, sim.Proved, "took 1 packets")
	want(t, cut, sim.Proved, "took 1 packets")
	want(t, parted, sim.Nothing, "met no packet")
	want(t, event(t, d, n, "heal"), sim.Nothing, "was not parted")
}

func TestALinkFlapsBySchedule(t *testing.T) {
	n := stand(t, stageOf)
	d := sim.NewDirector(n)
	server := echo(t, host(t, n, "server"), addressOf(n, "server"))
	conn := bind(t, host(t, n, "laptop"))
	ctx, stop := context.WithCancel(t.Context())
	spoken := make(chan struct{})
	go func() {
		defer close(spoken)
		for number := uint32(0); ctx.Err() == nil; number++ {
			_, _ = conn.WriteTo(binary.BigEndian.AppendUint32(nil, number), net.UDPAddrFromAddrPort(server))
			time.Sleep(2 * time.Millisecond)
		}
	}()
	arrived := func(since time.Time) []witness.Packet {
		return captured(n, "shared", witness.In, since, func(p witness.Packet) bool { return p.Dst == server })
	}
	begin := time.Now()
	soon(t, "the laptop speaks", func() bool { return len(arrived(begin)) > 0 })
	o := event(t, d, n, "flap link=laptop down=60ms every=120ms for=360ms")
	soon(t, "the laptop is heard again", func() bool { return len(arrived(o.End)) > 0 })
	stop()
	<-spoken
	want(t, o, sim.Proved, "was down 3 times for 60ms")
	// Three silences on the wire behind the link, each as long as it was down: there
	// packets are missing. A sender that had no processor is silent without that, and
	// on a machine that is busy for all of 60 ms a silence may swallow nothing.
	silences, last := 0, begin
	next := binary.BigEndian.Uint32(arrived(begin)[0].Payload)
	for _, p := range arrived(begin) {
		number := binary.BigEndian.Uint32(p.Payload)
		if number != next {
			silences++
			if silent := p.At.Sub(last); silent < 50*time.Millisecond {
				t.Errorf("%d packets are missing in a silence of %v", number-next, silent)
			}
		}
		next, last = number+1, p.At
	}
	if silences < 1 || silences > 3 {
		t.Errorf("packets are missing in %d silences, want 3", silences)
	}
}

func TestHandovers(t *testing.T) {
	n := stand(t, stageOf)
	d := sim.NewDirector(n)
	phone, server := host(t, n, "phone"), echo(t, host(t, n, "server"), addressOf(n, "server"))
	home, carrier := router(t, n, "home").External()[0], router(t, n, "carrier").External()[0]
	free := bind(t, phone)
	if from := seenFrom(t, free, server); from.Addr() != home {
		t.Fatalf("the server sees %v, want %v", from, home)
	}

	// Make before break: a socket of the old address goes on by the old uplink
	// until the overlap is over; one without an address goes by the new one at once.
	old := n.Plan().Addresses("phone", "wifi")[0]
	kept, err := phone.ListenPacket(t.Context(), "udp4", netip.AddrPortFrom(old, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	seenFrom(t, kept, server)
	done := make(chan *sim.Occurrence, 1)
	go func() { done <- event(t, d, n, "move host=phone uplink=4g overlap=400ms") }()
	soon(t, "the new uplink is active", func() bool { return phone.Active() == "4g" })
	if from := seenFrom(t, free, server); from.Addr() != carrier {
		t.Errorf("in the overlap the server sees %v, want %v of the new uplink", from, carrier)
	}
	if from := seenFrom(t, kept, server); from.Addr() != home {
		t.Errorf("in the overlap a socket of the old address is seen at %v, want %v", from, home)
	}
	if addrs, err := phone.Addresses(); err != nil || len(addrs) != 2 {
		t.Errorf("in the overlap the phone has %v (%v), want both addresses", addrs, err)
	}
	select {
	case <-done:
		t.Fatal("the overlap was over before it was looked at: this machine is too slow")
	default:
	}
	o := <-done
	want(t, o, sim.Proved, "from wifi to 4g, with both for 400ms")
	if took := o.End.Sub(o.Begin); took < 400*time.Millisecond {
		t.Errorf("an overlap of 400 ms took %v", took)
	}
	if _, err := kept.WriteTo([]byte("x"), net.UDPAddrFromAddrPort(server)); err == nil {
		t.Error("after the overlap a socket of the old address can still send")
	}
	if addrs, err := phone.Addresses(); err != nil || !slices.Equal(addrs, n.Plan().Addresses("phone", "4g")) {
		t.Errorf("after the overlap the phone has %v (%v)", addrs, err)
	}

	// Break before make, with darkness between.
	go func() { done <- event(t, d, n, "move host=phone uplink=wifi gap=300ms") }()
	soon(t, "the phone has no uplink", func() bool { return phone.Active() == "" })
	if addrs, err := phone.Addresses(); err != nil || len(addrs) != 0 {
		t.Errorf("in the gap the phone has %v (%v)", addrs, err)
	}
	dark := n.Now()
	o = <-done
	want(t, o, sim.Proved, "from 4g to wifi after 300ms without any")
	if in := captured(n, "phone", witness.Out, dark, func(p witness.Packet) bool { return p.At.Before(o.Begin.Add(290 * time.Millisecond)) }); len(in) > 0 {
		t.Errorf("in the gap the phone sent %d packets", len(in))
	}
	if from := seenFrom(t, free, server); from.Addr() != home {
		t.Errorf("after the gap the server sees %v, want %v", from, home)
	}
	want(t, event(t, d, n, "move host=phone uplink=wifi"), sim.Nothing, "")

	// One that is cancelled in its gap ends on the new uplink.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := phone.Handover(ctx, sim.Handover{Uplink: "4g", Gap: time.Minute}); err == nil || phone.Active() != "4g" {
		t.Errorf("a cancelled handover: %v, on %q", err, phone.Active())
	}
}

func TestImpairingForATime(t *testing.T) {
	n := stand(t, stageOf)
	d := sim.NewDirector(n)
	server := echo(t, host(t, n, "server"), addressOf(n, "server"))
	conn := bind(t, host(t, n, "laptop"))
	done := make(chan *sim.Occurrence, 1)
	go func() { done <- event(t, d, n, "impair link=laptop up={delay: 80ms} for=500ms") }()
	l := linkOf(t, n, "laptop", "")
	soon(t, "the link is slow", func() bool { up, _ := l.Impairments(); return up.Delay == 80*time.Millisecond })
	began := time.Now()
	if seenFrom(t, conn, server); time.Since(began) < 80*time.Millisecond {
		t.Errorf("a round trip over 80 ms took %v", time.Since(began))
	}
	want(t, <-done, sim.Proved, "delay: 80ms")
	if up, _ := l.Impairments(); up.Delay != time.Millisecond {
		t.Errorf("after its time the link has %v, want 1 ms again", up)
	}
}

func TestProgramsArePausedKilledAndRestarted(t *testing.T) {
	n := stand(t, stageOf)
	d := sim.NewDirector(n)
	out := new(syncBuffer)
	// A program whose child writes: all of its processes have to stop.
	p, err := host(t, n, "server").Start(t.Context(), sim.Program{
		Name: "ticker", Path: "sh", Args: []string{"-c", "sh -c 'while :; do echo tick; sleep 0.005; done'; true"}, Stdout: out,
	})
	if err != nil {
		t.Fatal(err)
	}
	soon(t, "it ticks", func() bool { return len(out.String()) > 0 })
	o := event(t, d, n, "pause ticker")
	want(t, o, sim.Proved, "paused ticker")
	processes, err := p.Processes()
	if err != nil || len(processes) < 2 {
		t.Fatalf("its processes are %v (%v)", processes, err)
	}
	inT := 0
	for _, q := range processes {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", q.PID))
		switch {
		case err != nil || !q.Stopped:
			t.Errorf("process %d (%s) is in state %c (%v)", q.PID, q.Name, q.State, err)
		case strings.Contains(string(status), "State:\tT (stopped)"):
			inT++
		}
	}
	if inT < len(processes)-1 { // one may wait for a child that was stopped before its exec
		t.Errorf("of %v %d are in state T", processes, inT)
	}
	said := out.String()
	time.Sleep(brief)
	if out.String() != said {
		t.Error("a paused program wrote")
	}
	want(t, event(t, d, n, "pause ticker"), sim.Nothing, "paused")
	want(t, event(t, d, n, "resume ticker"), sim.Proved, "resumed ticker")
	soon(t, "it ticks again", func() bool { return len(out.String()) > len(said) })
	want(t, event(t, d, n, "pause host=server for=50ms"), sim.Proved, "for 50ms")
	said = out.String()
	soon(t, "it ticks after its pause", func() bool { return len(out.String()) > len(said) })

	pid := p.PID()
	want(t, event(t, d, n, "restart ticker"), sim.Proved, "restarted ticker")
	if p.PID() == pid {
		t.Error("after a restart it has the same PID")
	}
	want(t, event(t, d, n, "kill ticker"), sim.Proved, "ticker ended with 137")
	if p.State().Running {
		t.Error("it was killed and runs")
	}
	e := sim.Event{Kind: sim.EventPause, Program: "ticker"}
	if _, err := d.Apply(t.Context(), e); err == nil || !strings.Contains(err.Error(), "no program runs in the lab") {
		t.Errorf("a pause of what was killed: %v", err)
	}
	want(t, event(t, d, n, "restart ticker"), sim.Proved, "restarted ticker")
	e.Program = "tickr"
	if _, err := d.Apply(t.Context(), e); err == nil || !strings.Contains(err.Error(), `did you mean "ticker"`) {
		t.Errorf("a pause of another name: %v", err)
	}
}

// A timeline does its events at their times, beside each other, and proves them.
func TestATimelineRuns(t *testing.T) {
	n := stand(t, stageOf)
	server := echo(t, host(t, n, "server"), addressOf(n, "server"))
	conn := bind(t, host(t, n, "laptop"))
	seenFrom(t, conn, server)
	entry := func(at time.Duration, line string) sim.Scheduled {
		e, err := sim.ParseEventText(n.Lab(), line)
		if err != nil {
			t.Fatal(err)
		}
		return sim.Scheduled{At: at, Event: e}
	}
	flush := entry(50*time.Millisecond, "flush shared")
	flush.Every, flush.Times, flush.Jitter = 50*time.Millisecond, 3, 10*time.Millisecond
	line := sim.Timeline{entry(0, "cut tv for=300ms"), flush, entry(100*time.Millisecond, "blackhole link=laptop direction=up")}
	if err := line.Validate(n.Lab()); err != nil {
		t.Fatal(err)
	}
	var done []*sim.Occurrence
	began := n.Now()
	if err := line.Run(t.Context(), n, 1, func(o *sim.Occurrence) { done = append(done, o) }); err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, o := range done {
		order = append(order, string(o.Event.Kind))
		if o.Event.Kind == sim.EventFlush && o.Begin.Sub(began) < 50*time.Millisecond {
			t.Errorf("%s was done after %v", o.Event, o.Begin.Sub(began))
		}
	}
	if got := strings.Join(order, " "); strings.Count(got, "flush") != 3 || !strings.HasSuffix(got, "cut") || !strings.Contains(got, "blackhole") {
		t.Errorf("done were %s", got)
	}
	for _, o := range done {
		if o.Proof().State == sim.Pending {
			t.Errorf("%s was not proved in the end: %s", o.Event, o.Proof().Text)
		}
	}
	if _, err := sim.Apply(t.Context(), n, sim.Event{Kind: sim.EventReboot, Router: "nobody"}); err == nil {
		t.Error("an event of a router that is not there was done")
	}
}
