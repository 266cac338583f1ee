package runner

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"p2pmodel/scenarios"
	"p2pmodel/sim/witness"
)

// tellTLS begins a tale of a, whose network lets out TCP to port 443 only, and b. What
// TLS carries is bytes like any other to the witness.
func tellTLS(t *testing.T, expect string) *tale {
	t.Helper()
	text := fmt.Sprintf(taleLab, "full-cone")
	text = strings.Replace(text, "nat-a: {nat: full-cone}", "nat-a: {nat: full-cone, firewall: tcp-443-only}", 1)
	sc, err := scenarios.Parse("tale.yaml", []byte(text+"tls: 443\n"+expect))
	if err != nil {
		t.Fatal(err)
	}
	tl := tellScenario(t, sc)
	tl.phases[0].heard = map[[2]string]uint64{{"a", "b"}: 20, {"b", "a"}: 20}
	return tl
}

// segment adds a TCP segment at one point.
func (tl *tale) segment(at time.Time, node, intf string, way witness.Direction, src, dst netip.AddrPort, payload []byte) {
	tl.t.Helper()
	const tcp, header = 6, 40
	b := append(make([]byte, header), payload...)
	b[0], b[8], b[9] = 0x45, 64, tcp
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	copy(b[12:], src.Addr().AsSlice())
	copy(b[16:], dst.Addr().AsSlice())
	binary.BigEndian.PutUint16(b[20:], src.Port())
	binary.BigEndian.PutUint16(b[22:], dst.Port())
	binary.BigEndian.PutUint32(b[24:], uint32(tl.number))
	b[32] = 5 << 4
	witness.FinishChecksum(b)
	k, err := witness.Parse(at, witness.Point{Node: node, Interface: intf}, way, b)
	if err != nil {
		tl.t.Fatal(err)
	}
	tl.packets = append(tl.packets, k)
}

// sealed tells of a datagram over the relay of which no byte is the same on the two
// sides: a is there by TLS, and b by UDP.
func (tl *tale) sealed(at time.Time, from, to string, payload []byte) {
	relay := tl.inside("relay")
	tl.tcp = from == "a"
	tl.leave(at, from, relay, payload)
	tl.hop(at.Add(4*ms), "relay", "uplink", witness.In, tl.outside(from), relay, payload)
	tl.tcp = to == "a"
	other := tl.frame()
	tl.hop(at.Add(5*ms), "relay", "uplink", witness.Out, relay, tl.outside(to), other)
	tl.come(at.Add(5*ms), to, relay, other)
	tl.tcp = false
}

// refused tells of what a peer sends by UDP, and its network does not let out.
func (tl *tale) refused(at time.Time, from, to string) {
	for _, dst := range []string{"relay", to} {
		addr := tl.inside("relay")
		if dst != "relay" {
			addr = tl.outside(to)
		}
		check := tl.check()
		tl.hop(at, from, "uplink", witness.Out, tl.inside(from), addr, check)
		tl.hop(at, "nat-"+from, "to "+from, witness.In, tl.inside(from), addr, check)
	}
}

// Of pairs whose payload TLS hides, the applications say what arrived, and the packets
// have to bear it out: who lies is found out.
func TestVerdictsOverTLS(t *testing.T) {
	early := func(tl *tale) time.Time { return tl.at(0, 60*ms) }
	for _, c := range []struct {
		name, expect string
		tell         func(tl *tale)
		want         scenarios.Verdict
		words        string // part of the reason
	}{
		{"over the relay", expectRelay, func(tl *tale) {
			tl.refused(early(tl), "a", "b")
			tl.talk(0, tl.sealed)
		}, scenarios.Expected, "relay"},
		{"they say that it arrived, and nothing did", expectRelay, func(tl *tale) {
			tl.refused(early(tl), "a", "b")
			tl.sealed(early(tl), "a", "b", tl.frame())
		}, scenarios.Unexpected, "expected relay, observed none"},
		{"they say that more arrived than did", expectRelay, func(tl *tale) {
			tl.refused(early(tl), "a", "b")
			tl.phases[0].heard[[2]string{"b", "a"}] = 500
			tl.talk(0, tl.sealed)
		}, scenarios.Unexpected, "32000 bytes of b are said to have arrived at a"},
		{"one side heard nothing", expectRelay, func(tl *tale) {
			tl.refused(early(tl), "a", "b")
			delete(tl.phases[0].heard, [2]string{"b", "a"})
			tl.talk(0, tl.sealed)
		}, scenarios.Unexpected, "expected relay, observed mixed"},
		{"too little was heard", expectRelay, func(tl *tale) {
			tl.refused(early(tl), "a", "b")
			tl.phases[0].heard[[2]string{"b", "a"}] = 9
			tl.talk(0, tl.sealed)
		}, scenarios.Unexpected, "a path is read from 10 datagrams each way"},
		{"it went direct", expectRelay, func(tl *tale) {
			tl.refused(early(tl), "a", "b")
			tl.talk(0, tl.direct)
		}, scenarios.Unexpected, "expected relay, observed direct"},
		{"one packet went direct, early", expectRelay, func(tl *tale) {
			tl.refused(early(tl), "a", "b")
			tl.direct(early(tl), "b", "a", tl.frame())
			tl.talk(0, tl.sealed)
		}, scenarios.Unexpected, "payload may have gone direct although it must not"},
		{"no UDP was tried", expectRelay, func(tl *tale) { tl.talk(0, tl.sealed) },
			scenarios.Vacuous, "the witness saw nothing die that a sent to a server by UDP"},
		{"UDP got out", expectRelay, func(tl *tale) {
			tl.toRelay(early(tl), "a", tl.frame())
			tl.refused(early(tl), "a", "b")
			tl.talk(0, tl.sealed)
		}, scenarios.Unexpected, "entered a server by UDP"},
		{"silence of TLS cannot be measured", "expect: {path: relay, gap: 1s}\n", func(tl *tale) {
			tl.refused(early(tl), "a", "b")
			tl.talk(0, tl.sealed)
		}, scenarios.Vacuous, "there is no gap to measure"},
		{"the file expects what cannot be", expectDirect, func(tl *tale) {
			tl.refused(early(tl), "a", "b")
			tl.talk(0, tl.direct)
		}, scenarios.Unexpected, "by the model of its NATs it must be relay"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tl := tellTLS(t, c.expect)
			c.tell(tl)
			tl.judge().must(t, c.want, c.words)
		})
	}
}
