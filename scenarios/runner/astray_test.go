package runner

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"p2pmodel/core/identity"
	"p2pmodel/core/peer"
	"p2pmodel/scenarios"
)

const threePeers = `
id: TALE
title: a run that nobody ran
lab:
  routers:
    nat-a: {nat: full-cone}
    nat-b: {nat: full-cone}
    nat-c: {nat: full-cone}
  hosts:
    a: {behind: nat-a}
    b: {behind: nat-b}
    c: {behind: nat-c}
    rendezvous: {}
    relay: {}
rendezvous: rendezvous
relay: relay
peers: {a: {host: a}, b: {host: b}, c: {host: c}}
connect: [[a, b], [a, c], [b, c]]
expect: {path: direct}
`

// TestAstray: what a says to c and the relay brings to b, because b has c's former
// address there, is neither another session of a and b nor a path of theirs. Where b
// gets most of a slot it is one.
func TestAstray(t *testing.T) {
	for _, row := range []struct {
		name            string
		toC             bool // a's session with c has arrived where it should
		strays          int
		want            scenarios.Verdict
		words, evidence string
	}{
		{"one of many", true, 1, scenarios.Expected, "direct", "1 datagrams of a for somebody else arrived at b"},
		{"none", true, 0, scenarios.Expected, "direct", ""},
		{"nobody else gets it", false, 1, scenarios.Unexpected, "was of 2 sessions by what it begins with", ""},
	} {
		sc, err := scenarios.Parse("tale.yaml", []byte(threePeers))
		if err != nil {
			t.Fatal(err)
		}
		tl := tellScenario(t, sc)
		for i, pair := range tl.s.pairs() {
			for k, way := range both(pair) {
				tl.session = byte('p' + 2*i + k)
				if way == [2]string{"a", "c"} && !row.toC {
					tl.session = 'z'
				}
				tl.say(0, way[0], way[1], tl.direct)
				if way == [2]string{"a", "c"} {
					if !row.toC {
						tl.session = 'y'
					}
					for n := range row.strays {
						tl.relayed(tl.at(0, time.Second+time.Duration(n)*ms), "a", "b", tl.frame())
					}
				}
			}
		}
		o := tl.judge()
		o.must(t, row.want, row.words)
		if got := strings.Join(o.run.Evidence, "\n"); row.evidence == "" && strings.Contains(got, "somebody else") || !strings.Contains(got, row.evidence) {
			t.Errorf("%s: evidence is\n%s\nwant %q in it", row.name, got, row.evidence)
		}
	}
}

// TestConfusion: an application that was told what another peer said, or what was said
// to another peer, speaks against the run.
func TestConfusion(t *testing.T) {
	machine := func(n byte) *peer.Machine {
		m, err := peer.NewMachine(peer.Config{
			Key: identity.KeyFromSeed([identity.Size]byte{31: n}), Rand: rand.NewChaCha8([32]byte{n}),
			Rendezvous: netip.MustParseAddrPort("198.18.9.9:3478"),
		})
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	us, from, other := machine(1), machine(2), machine(3)
	a := &agent{Machine: us, links: map[identity.ID]*conversation{from.ID(): {heard: map[uint64]int{}}}}
	say := func(by, to identity.ID, number uint64) heard {
		b := make([]byte, 64)
		binary.BigEndian.PutUint64(b[numberAt:], addressed(by, to, number))
		a.hear(peer.Received{Peer: from.ID(), Payload: b})
		e, _ := a.events[len(a.events)-1].(heard)
		return e
	}
	for _, row := range []struct {
		name   string
		by, to identity.ID
		number uint64
		want   heard
	}{
		{"to us", from.ID(), us.ID(), 7, heard{Number: 7}},
		{"to us, again", from.ID(), us.ID(), 7, heard{Number: 7, Again: true}},
		{"to another", from.ID(), other.ID(), 8, heard{Confused: true}},
		{"by another", other.ID(), us.ID(), 9, heard{Confused: true}},
		{"by us", us.ID(), from.ID(), 10, heard{Confused: true}},
	} {
		if got := say(row.by, row.to, row.number); got != row.want {
			t.Errorf("%s: %+v, want %+v", row.name, got, row.want)
		}
	}

	tl := tell(t, "full-cone", "expect: {path: direct}\n")
	tl.talk(0, tl.direct)
	tl.s.observe(tl.s.actors["b"], taleStart, heard{Confused: true})
	tl.judge().must(t, scenarios.Unexpected, "1 datagrams were delivered to the application of b as from a peer that did not say them to it")
}
