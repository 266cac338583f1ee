//go:build linux

package foreign_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"p2pmodel/nat"
	"p2pmodel/sim"
)

// defendant is a NAT that is judged.
type defendant struct {
	name     string // a preset's name or a behaviour, as in lab files
	declared nat.Behavior
	router   string
	host     string // behind it, with two addresses
}

// defendants are the NATs of these names.
func defendants(tb testing.TB, names []string) (all []*defendant) {
	tb.Helper()
	for i, name := range names {
		declared, err := nat.ParseBehavior(name)
		if err != nil {
			tb.Fatal(err)
		}
		all = append(all, &defendant{name, declared, fmt.Sprintf("nat-%d", i+1), fmt.Sprintf("a-%d", i+1)})
	}
	return all
}

// presetNames are the names of all presets.
func presetNames() (names []string) {
	for _, p := range nat.Presets() {
		names = append(names, p.Name)
	}
	return names
}

// bench is a lab with all of them, each with a host behind, and two servers.
func bench(all []*defendant) string {
	var routers, hosts strings.Builder
	for _, d := range all {
		addresses := 1
		if d.declared.Pooling == nat.PoolArbitrary {
			addresses = 2 // with one there is nothing to choose
		}
		fmt.Fprintf(&routers, "    %s: {nat: %q, addresses: %d}\n", d.router, d.name, addresses)
		fmt.Fprintf(&hosts, "    %s: {behind: %s, addresses: 2}\n", d.host, d.router)
	}
	return "lab:\n  routers:\n" + routers.String() + "  hosts:\n" + hosts.String() +
		"    rendezvous: {addresses: 2}\n    coturn: {addresses: 2}\n"
}

// TestNatdiscovery has coturn's tool judge every preset, all nine pairs of
// mapping and filtering, and what else may lead it astray, by our server and by
// coturn's own. There requests are padded to more than a link carries (-P): NATs
// that do not put fragments together fail.
//
// It cannot tell ADM from APDM by a server that keeps to RFC 5780. It finds the
// third place to ask in the OTHER-ADDRESS of its second answer, where the RFC has
// the one of the first (section 4.3). The second comes from alternate address
// and primary port, and what differs from both (section 7.4) is the primary
// address with the alternate port: the tool compares mappings towards two
// addresses where it means to compare two ports. coturn's server names its other
// port in that answer, against the RFC, so the tool is right about its own
// server only.
//
// Masquerade is EIM to it: it asks from one host, and no other wants its port.
// Arbitrary pooling it does not notice: a mapping that depends on nothing has one
// address, and others differ from each other anyhow.
//
// A hairpin (-H) it tries from a second socket: the mapping must let somebody in
// whom it never sent to, so only EIF can show one. Internal hairpins cannot be seen
// from one host: the packet has the host's own address as source, and Linux drops
// such. What it says is that a request came, or nothing.
//
// A collision (-c) is two addresses behind one NAT that use one port for one
// destination. It says what they are seen as, and gives no verdict: whoever
// preserves ports can do so for the first only, and both must keep apart.
func TestNatdiscovery(t *testing.T) {
	t.Parallel()
	court.call(t, "turnutils_natdiscovery", "turnserver")
	all := defendants(t, slices.Concat(presetNames(), []string{
		"mapping=EIM,filtering=EIF", "mapping=EIM,filtering=ADF", "mapping=EIM,filtering=APDF",
		"mapping=ADM,filtering=EIF", "mapping=ADM,filtering=ADF", "mapping=ADM,filtering=APDF",
		"mapping=APDM,filtering=EIF", "mapping=APDM,filtering=ADF", "mapping=APDM,filtering=APDF",
		"symmetric,ports=random", "mapping=APDM,filtering=EIF,ports=random",
		"full-cone,ports=sequential,pooling=arbitrary", "mapping=ADM,filtering=ADF,ports=sequential,pooling=arbitrary",
		"mapping=EIM,filtering=EIF,hairpin=external", "mapping=APDM,filtering=EIF,hairpin=external",
		"mapping=EIM,filtering=ADF,hairpin=external", "mapping=EIM,filtering=EIF,hairpin=internal",
	}))
	l := stand(t, bench(all))
	_, ours := l.rendezvous("rendezvous")
	coturns := l.turnserver("coturn")
	// All wait for answers that do not come, so all start before one is heard.
	var trials []*trial
	for _, d := range all {
		trials = append(trials, &trial{
			defendant: d, lab: l,
			ours:    l.launchNatdiscovery(d.host, ours, "-m", "-f", "-H", "-c", "-A", l.address(d.host, 1).String()),
			coturns: l.launchNatdiscovery(d.host, coturns, "-m", "-f", "-P"),
		})
	}
	for _, c := range trials {
		t.Run(c.name, c.hear)
	}
}

// trial is the tool behind one NAT, asking our server and coturn's.
type trial struct {
	*defendant
	lab           *lab
	ours, coturns *program
}

// hear compares what the tool says with what was declared.
func (c *trial) hear(t *testing.T) {
	c.ours.answersTo(t)
	c.coturns.answersTo(t)
	byOurs, byCoturns := c.ours.discovered(), c.coturns.discovered()

	c.mapping(t, c.ours, byOurs, saysByOurs)
	c.mapping(t, c.coturns, byCoturns, saysByCoturns)
	c.filtering(t, c.ours, byOurs)
	c.filtering(t, c.coturns, byCoturns)
	hairpin := c.hairpin(t, byOurs)
	collision := c.collision(t, byOurs)

	t.Logf("declared %v; says by our server %q, %q, hairpin %s, collision %s, and by its own %q, %q",
		c.declared.Text(nat.AxisMapping, nat.AxisFiltering, nat.AxisPorts, nat.AxisPooling, nat.AxisHairpin),
		byOurs["Mapping"].verdicts, byOurs["Filtering"].verdicts, hairpin, collision, byCoturns["Mapping"].verdicts, byCoturns["Filtering"].verdicts)
}

// What it says of mappings by whom it asks, for EIM, ADM and APDM.
var (
	saysByOurs    = [3]string{saysEIM, saysAPDM, saysAPDM}
	saysByCoturns = [3]string{saysEIM, saysADM, saysAPDM}
)

// mapping wants the word for the declared dependence, and the known reason where
// it is the wrong one: the third place that the tool asks has another address than
// the second.
func (c *trial) mapping(t *testing.T, p *program, found natdiscovery, says [3]string) {
	t.Helper()
	d := p.about(found, "Mapping")
	if want := says[c.declared.Mapping]; !d.concludes(0, want) {
		t.Errorf("%s: the tool says %v; want %q after no timeout", p.name, d, want)
	}
	asked := 3
	if c.declared.Mapping == nat.EndpointIndependent {
		asked = 2
	}
	if len(d.responses) != asked {
		t.Fatalf("%s: %d responses, want %d", p.name, len(d.responses), asked)
	}
	if asked == 3 {
		second, third := d.responses[1].origin, d.responses[2].origin
		if tellsADM := says[nat.AddressDependent] == saysADM; (second.Addr() == third.Addr()) != tellsADM || second.Port() == third.Port() {
			t.Errorf("%s: asked %v and then %v", p.name, second, third)
		}
	}
	c.seen(t, p, d)
}

// filtering wants the word for the declared dependence. An answer that must not
// come is waited for.
func (c *trial) filtering(t *testing.T, p *program, found natdiscovery) {
	t.Helper()
	d := p.about(found, "Filtering")
	if want := []string{saysEIF, saysADF, saysAPDF}[c.declared.Filtering]; !d.concludes(int(c.declared.Filtering), want) {
		t.Errorf("%s: the tool says %v; want %q after %d timeouts", p.name, d, want, c.declared.Filtering)
	}
	c.seen(t, p, d)
}

// seen wants the router's addresses outside, and the host's inside.
func (c *trial) seen(t *testing.T, p *program, d *discovery) {
	t.Helper()
	router, err := c.lab.Router(c.router)
	if err != nil {
		t.Fatal(err)
	}
	inside := c.lab.Plan().Addresses(c.host, sim.DefaultUplink)
	for i, r := range d.responses {
		if !slices.Contains(router.External(), r.reflexive.Addr()) || !slices.Contains(inside, r.local.Addr()) {
			t.Errorf("%s: response %d: %v seen as %v; the router's addresses are %v", p.name, i+1, r.local, r.reflexive, router.External())
		}
	}
}

// hairpin wants one request where the tool can see it, and else that it waits at
// both of its sockets.
func (c *trial) hairpin(t *testing.T, found natdiscovery) string {
	t.Helper()
	d := c.ours.about(found, "Hairpinning")
	requests := 0
	if c.declared.Hairpin == nat.HairpinExternal && c.declared.Filtering == nat.EndpointIndependent {
		requests = 1
	}
	if want := 2 * (1 - requests); len(d.responses) != 1 || d.requests != requests || !d.concludes(want) {
		t.Errorf("%s: the tool says %v; want 1 response, %d requests by hairpin, %d timeouts", c.ours.name, d, requests, want)
	}
	if d.requests > 0 {
		return "that a request came"
	}
	return "nothing"
}

// collision wants two external endpoints for one port of two inside addresses.
func (c *trial) collision(t *testing.T, found natdiscovery) string {
	t.Helper()
	d := c.ours.about(found, "Collision")
	if len(d.responses) != 2 || !d.concludes(0) {
		t.Fatalf("%s: the tool says %v; want 2 responses", c.ours.name, d)
	}
	c.seen(t, c.ours, d)
	first, second := d.responses[0], d.responses[1]
	if first.local.Port() != second.local.Port() || first.local.Addr() == second.local.Addr() || first.origin != second.origin {
		t.Errorf("%s: asked %v from %v, and %v from %v: no collision", c.ours.name, first.origin, first.local, second.origin, second.local)
	}
	if second.reflexive == first.reflexive {
		t.Errorf("%s: %v and %v are both seen as %v", c.ours.name, first.local, second.local, first.reflexive)
	}
	switch c.declared.Ports {
	case nat.Preserve:
		if first.reflexive.Port() != first.local.Port() {
			t.Errorf("%s: %v is seen as %v, want the port preserved", c.ours.name, first.local, first.reflexive)
		}
	case nat.Block:
		r := c.declared.Resolved()
		block := func(port uint16) int { return int(port-r.Range.Low) / r.Block }
		if block(first.reflexive.Port()) == block(second.reflexive.Port()) {
			t.Errorf("%s: %v and %v are in one block of %d ports, of two hosts", c.ours.name, first.reflexive, second.reflexive, r.Block)
		}
	}
	return fmt.Sprintf("%d → %d and %d", first.local.Port(), first.reflexive.Port(), second.reflexive.Port())
}

// TestNatdiscoveryOfFragments pads requests to our server, which pads its
// answers.
func TestNatdiscoveryOfFragments(t *testing.T) {
	t.Parallel()
	court.call(t, "turnutils_natdiscovery")
	all := defendants(t, []string{"full-cone", "symmetric", "linux"})
	l := stand(t, bench(all))
	_, server := l.rendezvous("rendezvous")
	for _, d := range all {
		p := l.launchNatdiscovery(d.host, server, "-m", "-f", "-P")
		c := &trial{defendant: d, lab: l, ours: p}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p.answersTo(t)
			found := p.discovered()
			c.mapping(t, p, found, saysByOurs)
			c.filtering(t, p, found)
		})
	}
}

// TestNatdiscoveryWithoutNAT is the same behind routers that only forward.
func TestNatdiscoveryWithoutNAT(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		router, filtering string
		timeouts          int
	}{
		{"", saysEIF, 0},
		{"firewall: stateful", saysAPDF, 2},
	} {
		t.Run("router {"+c.router+"}", func(t *testing.T) {
			t.Parallel()
			court.call(t, "turnutils_natdiscovery")
			l := stand(t, behind(c.router))
			_, server := l.rendezvous("rendezvous")
			p := l.launchNatdiscovery("a", server, "-m", "-f")
			p.answersTo(t)
			found := p.discovered()
			// It says what it found of the address, and then what it says of NATs.
			if d := p.about(found, "Mapping"); !d.concludes(0, saysNoNAT, saysEIM) {
				t.Errorf("the tool says %v; want %q", d, []string{saysNoNAT, saysEIM})
			}
			if d := p.about(found, "Filtering"); !d.concludes(c.timeouts, saysNoNAT, c.filtering) {
				t.Errorf("the tool says %v; want %q after %d timeouts", d, []string{saysNoNAT, c.filtering}, c.timeouts)
			}
		})
	}
}

// behind is a lab of a host behind one router and the rendezvous.
func behind(router string) string {
	return `
lab:
  routers:
    router: {` + router + `}
  hosts:
    a: {behind: router}
    rendezvous: {addresses: 2}
`
}

// TestNatdiscoveryLifetime has the tool rest behind every preset, whose times are
// 3 s here, and then ask from a second socket for an answer to the first one's
// mapping (RESPONSE-PORT): it comes if the mapping lives. It counts in whole seconds.
//
// With arbitrary pooling it finds all mappings dead: the second socket has another
// external address, and the server answers to that one, where nobody has the port.
func TestNatdiscoveryLifetime(t *testing.T) {
	t.Parallel()
	var names []string
	for _, p := range nat.Presets() {
		name := p.Name + ",timeout=3s"
		if p.Behavior.Stream > 0 { // the answer makes the mapping such a one
			name += ",stream=3s"
		}
		names = append(names, name)
	}
	names = append(names, "mapping=ADM,filtering=ADF,timeout=3s")
	for rest, alive := range map[string]bool{"2": true, "4": false} {
		t.Run("after "+rest+"s", func(t *testing.T) {
			t.Parallel()
			court.call(t, "turnutils_natdiscovery")
			all := defendants(t, names)
			l := stand(t, bench(all))
			_, server := l.rendezvous("rendezvous")
			var running []*program
			for _, d := range all {
				running = append(running, l.launchNatdiscovery(d.host, server, "-t", "-T", rest))
			}
			for i, d := range all {
				t.Run(d.name, func(t *testing.T) {
					p := running[i]
					p.answersTo(t)
					found := p.about(p.discovered(), "Mapping Lifetime")
					responses, timeouts := 1, 1
					if alive && d.declared.Pooling != nat.PoolArbitrary {
						responses, timeouts = 2, 0
					}
					if len(found.responses) != responses || !found.concludes(timeouts) {
						t.Errorf("%s: the tool says %v, want %d responses and %d timeouts", p.name, found, responses, timeouts)
					}
				})
			}
		})
	}
}
