package virtual_test

import (
	"strings"
	"testing"
	"time"

	"p2pmodel/nat"
	"p2pmodel/sim"
	"p2pmodel/sim/virtual"
	"p2pmodel/sim/witness"
)

// home has two hosts behind a NAT, whose external address is 198.18.0.2, and a
// server at 198.18.0.3.
func home(behavior string) string {
	return `lab:
  routers: {home: {nat: "` + behavior + `"}}
  hosts: {inside: {behind: home}, other: {behind: home}, server: , stranger: }
`
}

// TestNATs: who hears what through a NAT, and why the rest dies.
func TestNATs(t *testing.T) {
	for _, c := range []struct {
		behavior, server, stranger string // what inside hears of each
		late                       string // and from the server a minute later
		drops                      []string
	}{
		{"mapping=EIM,filtering=EIF,ports=preserve,timeout=30s", "pong", "ping", "", []string{"no mapping at home, rule nat udp_inbound: no mapping has the port"}},
		{"mapping=EIM,filtering=ADF,ports=preserve,timeout=30s", "pong", "", "", []string{
			"filtered at home, rule nat udp_inbound: the mapping's filter does not let the sender in", "no mapping at home"}},
		{"mapping=APDM,filtering=APDF,ports=sequential,timeout=2m", "pong", "", "late", []string{"filtered at home"}},
		{"kind=masquerade,timeout=30s,stream=30s", "pong", "", "", []string{
			"no mapping at home, rule nat input: from outside, and no flow expects it", "no mapping at home"}},
	} {
		t.Run(c.behavior, func(t *testing.T) {
			n := build(t, home(c.behavior))
			inside, server, stranger := talk(t, n, "inside", 5000), talk(t, n, "server", 700), talk(t, n, "stranger", 700)
			inside.say("198.18.0.3:700", "ping")
			elapse(t, n, ms)
			from, _, _ := strings.Cut(server.words(), " ")
			stranger.say(from, "ping")
			elapse(t, n, ms)
			var want []string
			for _, w := range [][2]string{{"198.18.0.3:700", c.server}, {"198.18.0.4:700", c.stranger}} {
				if w[1] != "" {
					want = append(want, w[0]+" "+w[1])
				}
			}
			equal(t, "inside heard", inside.words(), strings.Join(want, ", "))
			elapse(t, n, time.Minute)
			server.say(from, "late")
			elapse(t, n, ms)
			if got := inside.words(); strings.Contains(got, "late") != (c.late != "") {
				t.Errorf("a minute later, inside heard %q", got)
			}
			lines := strings.Split(drops(t, n), "\n")
			for i, want := range c.drops {
				if i >= len(lines) || !strings.HasPrefix(lines[i], want) {
					t.Errorf("drops:\n%s\nwant:\n%s", strings.Join(lines, "\n"), strings.Join(c.drops, "\n"))
				}
			}
			intact(t, n.Packets())
			for _, tr := range witness.Traces(n.Packets(), witness.Scene{Hosts: []string{"inside", "other", "server", "stranger"}}) {
				if len(tr.Hops) < 2 {
					t.Errorf("a packet is not followed: %v", tr)
				}
			}
		})
	}
}

// TestPointsOfCapture are the uplinks of hosts and both sides of routers; the
// core has none.
func TestPointsOfCapture(t *testing.T) {
	n := build(t, home("full-cone"))
	talk(t, n, "server", 700)
	talk(t, n, "inside", 5000).say("198.18.0.3:700", "hello")
	elapse(t, n, ms)
	equal(t, "captures saw", sights(n), `inside:uplink out 192.168.1.2:5000 → 198.18.0.3:700
home:to inside in 192.168.1.2:5000 → 198.18.0.3:700
home:uplink out 198.18.0.2:5000 → 198.18.0.3:700
server:uplink in 198.18.0.2:5000 → 198.18.0.3:700`)
	for i, p := range n.Packets() {
		if i > 0 && p.At.Before(n.Packets()[i-1].At) || p.Direction == witness.In && p.At == virtual.Epoch {
			t.Errorf("packet %d was seen at %v", i, p.At)
		}
	}
	if ttl := n.Packets()[3].Data[8]; ttl != 62 {
		t.Errorf("the time to live is %d at the server, want 62", ttl)
	}
}

// TestHairpin: each way to turn packets back.
func TestHairpin(t *testing.T) {
	for hairpin, want := range map[string]string{
		"none": "", "internal": "192.168.1.2:5000 neighbour", "external": "198.18.0.2:5000 neighbour",
	} {
		n := build(t, home("mapping=EIM,filtering=EIF,ports=preserve,hairpin="+hairpin))
		inside, other := talk(t, n, "inside", 5000), talk(t, n, "other", 5001)
		talk(t, n, "server", 700)
		inside.say("198.18.0.3:700", "open")
		other.say("198.18.0.3:700", "open")
		elapse(t, n, ms)
		inside.say("198.18.0.2:5001", "neighbour")
		elapse(t, n, ms)
		equal(t, "with hairpin="+hairpin+" the other heard", other.words(), want)
		if refused := strings.HasPrefix(drops(t, n), "hairpin refused at home, rule nat hairpin: no hairpin"); refused != (hairpin == "none") {
			t.Errorf("hairpin=%s: drops:\n%s", hairpin, drops(t, n))
		}
	}
}

// TestChanges: reboots, flushes, rebindings and swaps are known, and do what they
// say.
func TestChanges(t *testing.T) {
	n := build(t, home("mapping=EIM,filtering=APDF,ports=sequential"))
	inside, server := talk(t, n, "inside", 5000), talk(t, n, "server", 700)
	r := routerOf(t, n, "home")
	seen := func() string {
		t.Helper()
		inside.say("198.18.0.3:700", "x")
		elapse(t, n, ms)
		return server.words()
	}
	steps := []struct {
		do   func() error
		want string
	}{
		{func() error { return nil }, "198.18.0.2:1024 x"},
		{r.FlushTable, "198.18.0.2:1025 x"},
		{func() error { _, err := r.Rebind(); return err }, "198.18.0.2:1026 x"},
		{func() error { return r.Reboot(false) }, "198.18.0.2:1024 x"},
		{func() error { return r.Reboot(true) }, "198.18.0.5:1024 x"},
		{func() error { return r.Swap(nat.Behavior{}) }, "198.18.0.5:5000 x"},
	}
	for i, s := range steps {
		if err := s.do(); err != nil {
			t.Fatal(err)
		}
		equal(t, "after step "+string(rune('0'+i))+" the server heard", seen(), s.want)
	}
	var kinds []string
	for _, c := range r.Changes() {
		kinds = append(kinds, string(c.Kind))
	}
	equal(t, "the changes", strings.Join(kinds, " "), "flush rebind reboot reboot swap")
	// Nobody has the former address any more, and who asks is told.
	server.say("198.18.0.2:1024", "gone")
	elapse(t, n, ms)
	if !strings.HasSuffix(drops(t, n), "nobody has the address at internet, rule core routing (198.18.0.3:700 → 198.18.0.2:1024)") {
		t.Errorf("drops:\n%s", drops(t, n))
	}
	if last := n.Packets()[len(n.Packets())-1]; witness.Summary(last) != "ICMP network unreachable" && last.Protocol != 1 {
		t.Errorf("the last packet is %s", witness.Summary(last))
	}
}

// TestChainsOfRouters: a NAT behind a NAT, and a router without one, whose reboots
// with other addresses everybody in front learns.
func TestChainsOfRouters(t *testing.T) {
	n := build(t, `lab:
  routers:
    carrier: {nat: full-cone}
    plain: {behind: carrier, firewall: {inbound: replies}}
    home: {behind: plain, nat: full-cone}
  hosts: {inside: {behind: home}, beside: {behind: plain}, server: }
`)
	inside, beside, server := talk(t, n, "inside", 5000), talk(t, n, "beside", 5001), talk(t, n, "server", 700)
	ask := func() {
		t.Helper()
		inside.say("198.18.0.3:700", "ping")
		beside.say("198.18.0.3:700", "ping")
		elapse(t, n, ms)
		equal(t, "inside heard", inside.words(), "198.18.0.3:700 pong")
		equal(t, "beside heard", beside.words(), "198.18.0.3:700 pong")
	}
	ask()
	if err := routerOf(t, n, "home").Reboot(true); err != nil {
		t.Fatal(err)
	}
	ask()
	if got := server.words(); strings.Count(got, "198.18.0.2:") != 4 {
		t.Errorf("the server heard %s", got)
	}
	equal(t, "drops", drops(t, n), "")
	intact(t, n.Packets())
}

// TestTheCoreDropsWhatHasNoBusinessThere: private destinations and sources.
func TestTheCoreDropsWhatHasNoBusinessThere(t *testing.T) {
	n := build(t, `lab: {routers: {plain: {firewall: {inbound: open}}}, hosts: {a: , b: {behind: plain}}}`)
	a := talk(t, n, "a", 1)
	a.say("192.168.1.2:1", "private")
	a.say("198.18.77.7:1", "nobody")
	elapse(t, n, ms)
	equal(t, "drops", drops(t, n), `private address at internet, rule core edge (198.18.0.3:1 → 192.168.1.2:1)
nobody has the address at internet, rule core routing (198.18.0.3:1 → 198.18.77.7:1)`)
}

// TestUnknownNames name what there is.
func TestUnknownNames(t *testing.T) {
	n := build(t, home("full-cone"))
	_, host := n.Host("home")
	_, router := n.Router("inside")
	_, node := n.Link(sim.LinkID{Node: "nobody"})
	_, uplink := n.Link(sim.LinkID{Node: "inside", Uplink: "wifi"})
	for err, want := range map[error]string{
		host:   `the lab has no host "home"; it has inside, other, server, stranger`,
		router: `the lab has no router "inside"; it has home`,
		node:   "link of nobody: the lab has no node of that name",
		uplink: `link of inside: no uplink "wifi"; it has uplink`,
	} {
		if err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
