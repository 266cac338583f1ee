package runner

import (
	"testing"

	"p2pmodel/nat/oracle"
	"p2pmodel/scenarios"
	"p2pmodel/sim"
)

// guardedScenario has a firewall on a host, and a portal.
const guardedScenario = `
id: GUARDED
title: Firewalls on hosts and a portal
lab:
  routers:
    home: {nat: full-cone}
    hotel: {nat: linux, firewall: captive-portal}
    office: {nat: symmetric}
  hosts:
    a: {behind: home, firewall: stateful}
    b: {behind: office}
    c: {behind: hotel}
    rendezvous: {firewall: {inbound: replies, allow: [{udp: 3478}]}}
    relay: {}
rendezvous: rendezvous
relay: relay
peers: {a: {host: a}, b: {host: b}, c: {host: c}}
connect: [[a, b], [a, c]]
expect: {path: mixed}
controls:
  - name: unguarded
    why: the firewall of the host makes the difference
    open: [a]
    expect: {path: mixed}
  - name: no portal
    why: the portal makes the difference
    open: [hotel]
    expect: {path: mixed}
`

// The oracle is asked with hosts' own firewalls and with who is logged in; controls
// take firewalls from hosts, too.
func TestWorldWithFirewalls(t *testing.T) {
	sc, err := scenarios.Parse("guarded.yaml", []byte(guardedScenario))
	if err != nil {
		t.Fatal(err)
	}
	all := variants(sc, false)
	ask := func(w *world, a, b string) oracle.Path {
		e, err := w.ask(a, b)
		if err != nil {
			t.Fatal(err)
		}
		return e.Path
	}
	own, unguarded, open := newWorld(all[0]), newWorld(all[1]), newWorld(all[2])
	for _, c := range []struct {
		what      string
		got, want oracle.Path
	}{
		{"a guarded host behind a full cone", ask(own, "a", "b"), oracle.PathRelay},
		{"without its firewall", ask(unguarded, "a", "b"), oracle.PathDirect},
		{"a portal", ask(own, "a", "c"), oracle.PathNone},
		{"without its portal", ask(open, "a", "c"), oracle.PathDirect},
	} {
		if c.got != c.want {
			t.Errorf("%s: %s, want %s", c.what, c.got, c.want)
		}
	}
	for _, c := range []struct {
		event sim.Event
		want  oracle.Path
	}{
		{sim.Event{Kind: sim.EventLogin, Host: "b"}, oracle.PathNone}, // which has no portal
		{sim.Event{Kind: sim.EventLogin, Host: "c"}, oracle.PathDirect},
		{sim.Event{Kind: sim.EventReboot, Router: "hotel"}, oracle.PathNone},
		{sim.Event{Kind: sim.EventLogin, Host: "c", Router: "hotel"}, oracle.PathDirect},
	} {
		own.apply([]scenarios.Action{scenarios.EventAction(c.event)})
		if got := ask(own, "a", "c"); got != c.want {
			t.Errorf("after %v: %s, want %s", c.event, got, c.want)
		}
	}
	if h, _ := sc.Lab.Host("a"); h.Firewall == nil {
		t.Error("a control has changed the scenario's own lab")
	}
}
