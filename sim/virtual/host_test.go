package virtual_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"p2pmodel/core/sansio"
	"p2pmodel/sim"
	"p2pmodel/sim/witness"
)

// TestMachinesAreCalledAsLoopsDo: the host's addresses first, then what it asked
// for, and nothing before the caller waits.
func TestMachinesAreCalledAsLoopsDo(t *testing.T) {
	n := build(t, pair)
	h, _ := n.Host("a")
	m := &talker{}
	m.Bind(1, addrPort("0.0.0.0:0"))
	var events []time.Time
	running, err := h.Run(t.Context(), m, func(at time.Time, e sansio.Event) {
		if at != e.(time.Time) {
			t.Errorf("an event of %v comes at %v", e, at)
		}
		events = append(events, at)
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(m.kinds) > 0 {
		t.Errorf("called before anybody waits: %v", m.kinds)
	}
	elapse(t, n, 0)
	running.Do(func(now time.Time) { m.wake = now.Add(time.Hour) })
	running.Do(func(now time.Time) { m.wake = now.Add(time.Minute) }) // earlier
	elapse(t, n, time.Hour)
	running.Do(func(now time.Time) { m.wake = now.Add(-time.Hour) }) // at once
	elapse(t, n, ms)
	equal(t, "the calls", strings.Join(m.kinds, " "), "interfaces bound timeout timeout")
	if p := m.local.Port(); p < 32768 || p > 60999 {
		t.Errorf("port 0 became %d", p)
	}
	if len(events) != 2 || events[1].Sub(events[0]) != 59*time.Minute {
		t.Errorf("events at %v", events)
	}
	if err := running.Stop(); err != nil || running.Do(func(time.Time) {}) {
		t.Errorf("after its end it is called: %v", err)
	}
}

// TestSockets: what can be bound, and who gets what.
func TestSockets(t *testing.T) {
	n := build(t, `lab: {hosts: {a: {addresses: 2}, b: }}`)
	h, _ := n.Host("a")
	m := &talker{}
	running, err := h.Run(t.Context(), m, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct{ local, want string }{
		{"198.18.0.2:700", ""},
		{"198.18.0.2:700", "address already in use"},
		{"0.0.0.0:700", "address already in use"},
		{"198.18.0.3:700", ""},
		{"0.0.0.0:701", ""},
		{"198.18.0.9:702", "cannot assign requested address"},
		{"[::1]:702", "no IPv4 address"},
		{"[::ffff:198.18.0.3]:702", ""},
	} {
		m.err = nil
		running.Do(func(time.Time) { m.Bind(sansio.Socket(i), addrPort(c.local)) })
		if c.want == "" && m.err != nil || c.want != "" && (m.err == nil || !strings.Contains(m.err.Error(), c.want)) {
			t.Errorf("bind %s: %v, want %q", c.local, m.err, c.want)
		}
	}
	running.Do(func(time.Time) { m.Bind(0, addrPort("0.0.0.0:0")) })
	if m.err == nil || !strings.Contains(m.err.Error(), "open already") {
		t.Errorf("a second socket of one number: %v", m.err)
	}
	// Closed and opened anew in one go.
	m.err = nil
	running.Do(func(time.Time) { m.Unbind(0); m.Bind(0, addrPort("198.18.0.2:700")) })
	if m.err != nil {
		t.Error(m.err)
	}
	b := talk(t, n, "b", 9)
	for _, to := range []string{"198.18.0.2:700", "198.18.0.3:701", "198.18.0.3:702", "198.18.0.2:702"} {
		b.say(to, to)
	}
	elapse(t, n, ms)
	equal(t, "a heard", m.words(), "198.18.0.4:9 198.18.0.2:700, 198.18.0.4:9 198.18.0.3:701, 198.18.0.4:9 198.18.0.3:702")
	last := n.Packets()[len(n.Packets())-1]
	if got := witness.Summary(last); !strings.HasPrefix(got, "ICMP port unreachable") || last.Point.Node != "b" {
		t.Errorf("who sends to a closed port is told %q at %v", got, last.Point)
	}
	// To itself, past all wires.
	before := len(n.Packets())
	running.Do(func(time.Time) { m.Send(4, addrPort("198.18.0.2:700"), []byte("myself")) })
	elapse(t, n, ms)
	equal(t, "a heard", m.words(), "198.18.0.2:701 myself")
	if len(n.Packets()) != before {
		t.Error("what a host says to itself was seen on a wire")
	}
}

// TestErrorsAreRationed: one destination is told of closed ports six times at
// once, then once a second, as Linux does.
func TestErrorsAreRationed(t *testing.T) {
	n := build(t, pair)
	talk(t, n, "b", 2)
	a := talk(t, n, "a", 1)
	told := func() (count int) {
		for _, p := range n.Packets() {
			if p.Protocol == 1 && p.Point.Node == "a" {
				count++
			}
		}
		return count
	}
	for range 10 {
		a.say("198.18.0.3:3", "?")
	}
	elapse(t, n, 500*ms)
	if got := told(); got != 6 {
		t.Errorf("told %d times at once, want 6", got)
	}
	elapse(t, n, 2*time.Second)
	for range 10 {
		a.say("198.18.0.3:3", "?")
	}
	elapse(t, n, ms)
	if got := told(); got != 8 {
		t.Errorf("told %d times after 2.5 s, want 8", got)
	}
}

// TestMachinesOnly: what needs sockets or programs says where they are.
func TestMachinesOnly(t *testing.T) {
	n := build(t, pair)
	h, _ := n.Host("a")
	ctx := context.Background()
	_, packets := h.ListenPacket(ctx, "udp4", ":0")
	_, streams := h.Listen(ctx, "tcp4", ":0")
	_, dial := h.Dial(ctx, "tcp4", "198.18.0.3:1")
	_, start := h.Start(ctx, sim.Program{Path: "/bin/true"})
	_, watch := h.Watch(ctx)
	for _, err := range []error{packets, streams, dial, start, watch} {
		if err == nil || !strings.Contains(err.Error(), "--fabric kernel") || !strings.HasPrefix(err.Error(), "host a: ") {
			t.Errorf("the error is %v", err)
		}
	}
	if _, err := h.Bound("sctp", 1); err == nil {
		t.Error("an unknown protocol is no error")
	}
}

// TestFirewalls of routers and hosts: what passes, what is told to the sender, and
// what is counted.
func TestFirewalls(t *testing.T) {
	n := build(t, `lab:
  routers:
    wall:
      firewall: {inbound: replies, udp: [700], reject: both}
  hosts:
    inside: {behind: wall}
    server:
    guarded: {firewall: {inbound: replies}}
`)
	inside, server, guarded := talk(t, n, "inside", 5000), talk(t, n, "server", 700), talk(t, n, "guarded", 700)
	at := netip.AddrPortFrom(n.Plan().Addresses("inside", sim.DefaultUplink)[0], 5000).String()
	inside.say("198.18.0.4:700", "ping")
	guarded.say(at, "unsolicited")
	elapse(t, n, ms)
	inside.say("198.18.0.4:701", "blocked")
	server.say("198.18.0.5:700", "unsolicited")
	elapse(t, n, ms)
	guarded.say("198.18.0.4:700", "ping")
	elapse(t, n, ms)
	equal(t, "inside heard", inside.words(), "198.18.0.4:700 pong")
	equal(t, "guarded heard", guarded.words(), "198.18.0.4:700 pong")
	equal(t, "drops", drops(t, n), strings.ReplaceAll(`firewall: may not enter at wall, rule firewall entering: answers no flow from inside (198.18.0.5:700 → AT)
firewall: may not leave at wall, rule firewall leaving: UDP leaves to some ports only (AT → 198.18.0.4:701)
firewall: may not enter at guarded, rule firewall entering: answers no flow from inside (198.18.0.4:700 → 198.18.0.5:700)`, "AT", at))
	told := map[string]int{}
	for _, p := range n.Packets() {
		if strings.HasPrefix(witness.Summary(p), "ICMP administratively prohibited") && p.Direction == witness.In {
			told[p.Point.Node]++
		}
	}
	if told["inside"] != 1 || told["guarded"] != 1 {
		t.Errorf("told: %v", told)
	}
	counts, err := routerOf(t, n, "wall").Firewall()
	if err != nil || counts.Entering != 1 || counts.Leaving != 1 {
		t.Errorf("counts %+v, %v", counts, err)
	}
	h, _ := n.Host("guarded")
	if counts, err := h.Firewall(); err != nil || counts.Entering != 1 {
		t.Errorf("counts %+v, %v", counts, err)
	}
	if _, err := hostOf(t, n, "server").Firewall(); err == nil {
		t.Error("a host without a firewall counts")
	}
	intact(t, n.Packets())
}
