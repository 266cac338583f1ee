package runner

import (
	"fmt"
	"testing"
	"time"

	"p2pmodel/scenarios"
)

const (
	expectDirect = "expect: {path: direct}\n"
	expectRelay  = "expect: {path: relay}\n"
)

// Each row tells what crossed the wires, and what must be said of it.
func TestVerdicts(t *testing.T) {
	for _, c := range []struct {
		name, nat, text string
		tell            func(tl *tale)
		want            scenarios.Verdict
		words           string // part of the reason
	}{
		{"direct", "full-cone", expectDirect, func(tl *tale) { tl.talk(0, tl.direct) },
			scenarios.Expected, "direct"},
		{"first over the relay, then direct", "full-cone", expectDirect, func(tl *tale) {
			tl.relayed(tl.at(0, 55*ms), "a", "b", tl.frame())
			tl.talk(0, tl.direct)
		}, scenarios.Expected, "direct"},
		{"relayed, although direct was possible", "full-cone", expectDirect, func(tl *tale) { tl.talk(0, tl.relayed) },
			scenarios.Unexpected, "expected direct, observed relay"},
		{"every datagram twice, on both paths", "full-cone", expectDirect, func(tl *tale) {
			tl.talk(0, func(at time.Time, from, to string, payload []byte) {
				tl.direct(at, from, to, payload)
				tl.relayed(at, from, to, payload)
			})
		}, scenarios.Unexpected, "observed mixed"},
		{"one way direct, the other over the relay", "full-cone", expectDirect, func(tl *tale) {
			tl.say(0, "a", "b", tl.direct).say(0, "b", "a", tl.relayed)
		}, scenarios.Unexpected, "observed mixed"},
		{"b never speaks", "full-cone", expectDirect, func(tl *tale) { tl.say(0, "a", "b", tl.direct) },
			scenarios.Unexpected, "observed mixed (a → b: 10 direct, 0 relay, 0 lost)"},
		{"b is never heard", "full-cone", expectDirect, func(tl *tale) {
			tl.say(0, "a", "b", tl.direct)
			tl.say(0, "b", "a", func(at time.Time, from, to string, payload []byte) { tl.leave(at, from, tl.outside(to), payload) })
		}, scenarios.Unexpected, "observed mixed"},
		{"b has stopped speaking for the last half", "full-cone", expectDirect, func(tl *tale) {
			tl.say(0, "a", "b", tl.direct)
			for i := range 10 {
				tl.direct(tl.at(0, 600*ms+time.Duration(i)*20*ms), "b", "a", tl.frame())
			}
		}, scenarios.Expected, "direct"},
		{"too little was said", "full-cone", expectDirect, func(tl *tale) {
			for i := range 9 {
				tl.direct(tl.at(0, 600*ms+time.Duration(i)*ms), "a", "b", tl.frame())
				tl.direct(tl.at(0, 600*ms+time.Duration(i)*ms), "b", "a", tl.frame())
			}
		}, scenarios.Unexpected, "only 18 datagrams were sent"},
		{"nothing was said", "full-cone", expectDirect, func(tl *tale) {
			tl.direct(tl.at(0, 0), "a", "b", tl.check())
		}, scenarios.Unexpected, "observed none (no payload was sent)"},
		{"the witness saw nothing", "full-cone", expectDirect, func(*tale) {}, scenarios.Broken, "the witness is blind"},
		{"the witness saw one side", "full-cone", expectDirect, func(tl *tale) {
			tl.leave(tl.at(0, 0), "a", tl.outside("b"), tl.frame())
		}, scenarios.Broken, "the witness is blind"},

		{"relayed, checks filtered", "symmetric", expectRelay, func(tl *tale) { tl.checks(0).talk(0, tl.relayed) },
			scenarios.Expected, "relay"},
		{"relayed without a check", "symmetric", expectRelay, func(tl *tale) { tl.talk(0, tl.relayed) },
			scenarios.Vacuous, "no check from a to the public address of b die"},
		{"relayed, checks to private addresses only", "symmetric", expectRelay, func(tl *tale) {
			for _, way := range both([2]string{"a", "b"}) {
				tl.leave(tl.at(0, 60*ms), way[0], tl.inside(way[1]), tl.check())
			}
			tl.talk(0, tl.relayed)
		}, scenarios.Vacuous, "the direct path was not tried"},
		{"relayed, checks lost on the way", "symmetric", expectRelay, func(tl *tale) {
			for _, way := range both([2]string{"a", "b"}) {
				tl.leave(tl.at(0, 60*ms), way[0], tl.outside(way[1]), tl.check())
			}
			tl.talk(0, tl.relayed)
		}, scenarios.Vacuous, "the direct path was not tried"},
		{"relayed, only a checked", "symmetric", expectRelay, func(tl *tale) {
			check := tl.check()
			tl.leave(tl.at(0, 60*ms), "a", tl.outside("b"), check)
			tl.knock(tl.at(0, 65*ms), "b", tl.outside("a"), check)
			tl.talk(0, tl.relayed)
		}, scenarios.Vacuous, "no check from b"},
		{"relayed, but the first datagram went direct", "symmetric", expectRelay, func(tl *tale) {
			tl.direct(tl.at(0, -10*ms), "a", "b", tl.frame())
			tl.checks(0).talk(0, tl.relayed)
		}, scenarios.Unexpected, "payload went direct although it must not"},
		{"relayed, but the very last went direct", "symmetric", expectRelay, func(tl *tale) {
			tl.checks(0).talk(0, tl.relayed)
			tl.direct(tl.phases[0].end.Add(20*ms), "b", "a", tl.frame())
		}, scenarios.Unexpected, "payload went direct although it must not"},
		{"direct through symmetric NATs", "symmetric", expectRelay, func(tl *tale) { tl.talk(0, tl.direct) },
			scenarios.Unexpected, "expected relay, observed direct"},
		{"the file expects what cannot be", "symmetric", expectDirect, func(tl *tale) { tl.talk(0, tl.direct) },
			scenarios.Unexpected, "by the model of its NATs it must be relay"},

		{"the session changes on the wire", "full-cone", expectDirect, func(tl *tale) {
			tl.direct(tl.at(0, 55*ms), "a", "b", tl.frame())
			tl.session = 't'
			tl.talk(0, tl.direct)
		}, scenarios.Unexpected, "was of 2 sessions by what it begins with"},
		{"a peer tells of another session", "full-cone", expectDirect, func(tl *tale) {
			tl.s.actors["b"].sessions["a"] = []met{{"00", tl.at(0, 50*ms)}}
			tl.talk(0, tl.direct)
		}, scenarios.Unexpected, "had 2 sessions"},
		{"the session is replaced before it has a path", "full-cone", expectDirect, func(tl *tale) {
			for _, way := range both([2]string{"a", "b"}) {
				tl.s.actors[way[0]].sessions[way[1]] = []met{{"00", tl.at(0, -20*ms)}, {"the session", tl.at(0, -10*ms)}}
			}
			tl.talk(0, tl.direct)
		}, scenarios.Expected, "direct"},
		{"the session is replaced although it has a path", "full-cone", expectDirect, func(tl *tale) {
			for _, way := range both([2]string{"a", "b"}) {
				tl.s.actors[way[0]].sessions[way[1]] = []met{{"00", tl.at(0, 50*ms)}, {"the session", tl.at(0, time.Second)}}
			}
			tl.talk(0, tl.direct)
		}, scenarios.Unexpected, "had 2 sessions"},
		{"the application hears a datagram twice", "full-cone", expectDirect, func(tl *tale) {
			tl.phases[0].duplicates = 1
			tl.talk(0, tl.direct)
		}, scenarios.Unexpected, "delivered to the application twice"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tl := tell(t, c.nat, c.text)
			c.tell(tl)
			tl.judge().must(t, c.want, c.words)
		})
	}
}

// twoPhases is a scenario that is direct at first. What follows is the actions of
// its second phase, and its expectation.
const twoPhases = `
phases:
  - name: connect
    expect: {path: direct}
  - name: later
    do: [%s]
    expect: {%s}
`

const (
	swapBoth  = "{swap: {router: nat-a, nat: symmetric}}, {swap: {router: nat-b, nat: symmetric}}"
	thenSpeak = "{quiet: 1s}, {send: {from: b, count: 1}}"
)

// Rows as above, of what happens in a second phase.
func TestVerdictsOfLaterPhases(t *testing.T) {
	quiet := func(tl *tale, from, to time.Duration) {
		d := tl.phases[1].deeds[0]
		d.begin, d.done = tl.at(1, from), tl.at(1, to)
	}
	for _, c := range []struct {
		name, nat, actions, expect string
		tell                       func(tl *tale)
		want                       scenarios.Verdict
		words                      string // part of the reason
	}{
		{"a mapping is kept", "full-cone", "{quiet: 1s}", "path: direct, mapping: {a: kept}", func(tl *tale) {
			quiet(tl, 0, 50*ms)
			tl.talk(1, tl.direct)
		}, scenarios.Expected, "direct, then direct"},
		{"kept, but nothing was said", "full-cone", "{quiet: 1s}", "path: none, mapping: {a: kept}", func(*tale) {},
			scenarios.Unexpected, "no direct payload in this phase"},
		{"kept, but the port is another", "full-cone", "{quiet: 1s}", "path: direct, mapping: {a: kept}", func(tl *tale) {
			quiet(tl, 0, 50*ms)
			tl.ports["a"]++
			tl.talk(1, tl.direct)
		}, scenarios.Unexpected, "the mapping of a was lost, expected kept"},
		{"lost, but it is the same", "full-cone", "{reboot: {router: nat-a}}", "path: direct, mapping: {a: lost}", func(tl *tale) {
			tl.talk(1, tl.direct)
		}, scenarios.Unexpected, "the mapping of a was kept, expected lost"},
		{"a reboot that nothing shows", "full-cone", "{reboot: {router: nat-a}}", "path: direct", func(tl *tale) {
			tl.talk(1, tl.direct)
		}, scenarios.Vacuous, "nothing shows that nat-a rebooted"},
		{"somebody spoke into the quiet", "full-cone", "{quiet: 1s}", "path: direct", func(tl *tale) {
			quiet(tl, 0, 100*ms)
			tl.talk(1, tl.direct)
		}, scenarios.Vacuous, "in 1s of quiet 4 datagrams of payload were sent"},
		{"a stopped relay that nobody asks", "full-cone", "{stop: relay}", "path: direct", func(tl *tale) {
			tl.talk(1, tl.direct)
		}, scenarios.Vacuous, "the stopped relay got 0 datagrams"},
		{"a stopped relay that answers", "full-cone", "{stop: relay}", "path: direct", func(tl *tale) {
			tl.relayed(tl.at(1, 20*ms), "a", "b", tl.frame())
			tl.talk(1, tl.direct)
		}, scenarios.Vacuous, "the stopped relay got 1 datagrams and sent 1"},
		{"a stopped relay that answered before it stopped", "full-cone", "{stop: relay}", "path: direct", func(tl *tale) {
			tl.relayed(tl.at(1, 1*ms), "a", "b", tl.frame())
			tl.toRelay(tl.at(1, 20*ms), "a", tl.frame())
			tl.talk(1, tl.direct)
		}, scenarios.Expected, "direct"},
		{"a restarted relay that does not answer", "full-cone", "{restart: relay}", "path: direct", func(tl *tale) {
			tl.toRelay(tl.at(1, 20*ms), "a", tl.frame())
			tl.talk(1, tl.direct)
		}, scenarios.Vacuous, "the restarted relay got 1 datagrams and sent 0"},

		{"relayed since the swap", "full-cone", swapBoth, "path: relay",
			func(tl *tale) {
				tl.direct(tl.at(1, 5*ms), "a", "b", tl.frame()) // while it was being swapped
				tl.checks(1).talk(1, tl.relayed)
			}, scenarios.Expected, "direct, then relay"},
		{"relayed, but direct once after the swap", "full-cone", swapBoth, "path: relay",
			func(tl *tale) {
				tl.direct(tl.at(1, 15*ms), "a", "b", tl.frame())
				tl.checks(1).talk(1, tl.relayed)
			}, scenarios.Unexpected, "payload went direct although it must not"},
		{"relayed, with checks of before the swap only", "full-cone", swapBoth, "path: relay",
			func(tl *tale) { tl.checks(0).talk(1, tl.relayed) }, scenarios.Vacuous, "the direct path was not tried"},
		{"a cannot send to b, whose NAT filters", "port-restricted-cone", "{restrict: {host: a, to: [rendezvous, relay]}}", "path: relay",
			func(tl *tale) { tl.checks(1).talk(1, tl.relayed) }, scenarios.Expected, "direct, then relay"},
		{"a cannot send to b, but b's checks enter", "port-restricted-cone", "{restrict: {host: a, to: [rendezvous, relay]}}", "path: relay",
			func(tl *tale) {
				tl.checks(1).talk(1, tl.relayed)
				tl.direct(tl.at(1, 70*ms), "b", "a", tl.check())
			}, scenarios.Unexpected, "its NAT does not filter"},

		{"b speaks, and it dies in a's NAT", "port-restricted-cone", thenSpeak, "path: none, reaches: nat-a", func(tl *tale) {
			payload := tl.frame()
			tl.leave(tl.at(1, 100*ms), "b", tl.outside("a"), payload)
			tl.knock(tl.at(1, 105*ms), "a", tl.outside("b"), payload)
		}, scenarios.Expected, "direct, then none"},
		{"b speaks over the relay, and it dies in a's NAT", "port-restricted-cone", thenSpeak, "path: none, reaches: nat-a", func(tl *tale) {
			payload := tl.frame()
			tl.toRelay(tl.at(1, 100*ms), "b", payload)
			tl.knock(tl.at(1, 105*ms), "a", tl.inside("relay"), channelData(payload))
		}, scenarios.Expected, "direct, then none"},
		{"b speaks, and it is lost before", "port-restricted-cone", thenSpeak, "path: none, reaches: nat-a", func(tl *tale) {
			tl.leave(tl.at(1, 100*ms), "b", tl.outside("a"), tl.frame())
		}, scenarios.Unexpected, "none reached router nat-a"},
		{"b speaks, but a check dies in a's NAT", "port-restricted-cone", thenSpeak, "path: none, reaches: nat-a", func(tl *tale) {
			tl.leave(tl.at(1, 100*ms), "b", tl.outside("a"), tl.frame())
			tl.knock(tl.at(1, 105*ms), "a", tl.inside("relay"), channelData(tl.check()))
		}, scenarios.Unexpected, "none reached router nat-a"},
		{"b speaks, and a hears it", "port-restricted-cone", thenSpeak, "path: none, reaches: nat-a", func(tl *tale) {
			tl.direct(tl.at(1, 100*ms), "b", "a", tl.frame())
		}, scenarios.Unexpected, "expected none, observed direct"},
		{"b does not speak", "port-restricted-cone", thenSpeak, "path: none, reaches: nat-a", func(*tale) {},
			scenarios.Unexpected, "of 0 datagrams none reached router nat-a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tl := tell(t, c.nat, fmt.Sprintf(twoPhases, c.actions, c.expect))
			tl.talk(0, tl.direct)
			c.tell(tl)
			tl.judge().must(t, c.want, c.words)
		})
	}
}
