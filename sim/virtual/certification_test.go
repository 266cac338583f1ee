package virtual_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"p2pmodel/nat"
	"p2pmodel/nat/certify"
	"p2pmodel/sim"
	"p2pmodel/sim/virtual"
)

// stand builds a lab, and takes it down with the test.
func stand(tb testing.TB, text string, opt sim.Options) sim.Network {
	tb.Helper()
	lab, err := sim.ParseLab("lab.yaml", []byte(text))
	if err != nil {
		tb.Fatal(err)
	}
	n, err := virtual.Fabric{}.Build(tb.Context(), lab, opt)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := n.Close(); err != nil {
			tb.Errorf("close the lab: %v", err)
		}
	})
	return n
}

func routerOf(tb testing.TB, n sim.Network, name string) sim.RunningRouter {
	tb.Helper()
	r, err := n.Router(name)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func hostOf(tb testing.TB, n sim.Network, name string) sim.RunningHost {
	tb.Helper()
	h, err := n.Host(name)
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

// measureAll certifies all NATs of a lab at once.
func measureAll(tb testing.TB, n sim.Network, opt certify.Options) map[string]certify.Result {
	tb.Helper()
	results := map[string]certify.Result{}
	var all []<-chan struct{}
	for _, r := range n.Lab().Routers {
		if r.NAT == nil {
			continue
		}
		running := routerOf(tb, n, r.Name)
		all = append(all, n.Go(func() {
			result, err := running.Measure(tb.Context(), opt)
			if err != nil {
				tb.Errorf("%s: %v", r.Name, err)
			}
			results[r.Name] = result
		}))
	}
	if err := sim.WaitAll(n, all...); err != nil {
		tb.Fatal(err)
	}
	return results
}

// labOf has a NAT of each behaviour, with a host behind it.
func labOf(behaviors map[string]string) string {
	routers, hosts := "lab:\n  routers:\n", "  hosts:\n"
	for name, text := range behaviors {
		addresses := ""
		if b, err := nat.ParseBehavior(text); err == nil && b.Pooling == nat.PoolArbitrary {
			addresses = ", addresses: 2"
		}
		routers += fmt.Sprintf("    %s: {nat: %q%s}\n", name, text, addresses)
		hosts += fmt.Sprintf("    behind-%s: {behind: %[1]s}\n", name)
	}
	return routers + hosts
}

// All presets, with all of their times: waiting costs nothing.
func TestEveryPresetIsWhatItClaims(t *testing.T) {
	behaviors := map[string]string{}
	for _, p := range nat.Presets() {
		behaviors[p.Name] = p.Name
	}
	n := stand(t, labOf(behaviors), sim.Options{Seed: 1})
	results := measureAll(t, n, certify.Options{Patience: certify.MaxPatience})
	if len(results) != len(nat.Presets()) || len(results) < 29 {
		t.Errorf("%d presets were certified, want all of %d", len(results), len(nat.Presets()))
	}
	for name, r := range results {
		if !r.OK() {
			t.Errorf("%s: declared %s\nmeasured %s\n%+v", name, r.Declared, r.Measured, r.Findings)
		}
		if b, _ := nat.ParseBehavior(name); b.Timeout > 0 && b.Rotate == 0 && !strings.Contains(r.Measured, "timeout=") {
			t.Errorf("%s: its timeout of %v was not measured: %s", name, b.Timeout, r.Measured)
		}
	}
	if packets := n.Packets(); len(packets) > 0 {
		t.Errorf("certifications left %d packets in the captures, as %v", len(packets), packets[0])
	}
	if drops, err := n.Drops(); err != nil || len(drops) > 0 {
		t.Errorf("certifications left %d drops (%v)", len(drops), err)
	}
}

// A behaviour of one kind and a declaration of another are told apart.
func TestALieIsFoundOut(t *testing.T) {
	n := stand(t, labOf(map[string]string{"nat": "full-cone"}), sim.Options{Seed: 1})
	r := routerOf(t, n, "nat")
	first, err := r.Certify(t.Context())
	if err != nil || !first.OK() || !strings.HasPrefix(first.Measured, "mapping=EIM,filtering=EIF,ports=preserve") {
		t.Fatalf("measured %s (%v)", first.Measured, err)
	}
	b, err := nat.ParseBehavior("symmetric,ports=random")
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Swap(b); err != nil {
		t.Fatal(err)
	}
	second, err := r.Certify(t.Context())
	if err != nil || !second.OK() || !strings.HasPrefix(second.Measured, "mapping=APDM,filtering=APDF,ports=random") {
		t.Errorf("after a swap: measured %s (%v)", second.Measured, err)
	}
}

// The axes that presets do not have, and what the kernel's fabric measures of them.
func TestFurtherAxesAreCertified(t *testing.T) {
	rows := map[string]string{ // behaviour → axes that must be part of the result
		"kind=masquerade": "kind",
		"port-restricted-cone,fallback=random,parity=keep": "fallback parity",
		"symmetric,delta=4":                               "delta",
		"symmetric,parity=keep":                           "parity",
		"full-cone,ports=block,block=64":                  "block",
		"full-cone,timeout=1s,stream=2s":                  "stream",
		"full-cone,timeout=1s,refresh=inbound":            "refresh",
		"symmetric,ports=random,rotate=3s":                "rotate",
		"full-cone,timeout-tcp=2s":                        "timeout-tcp",
		"kind=masquerade,early-inbound=accept":            "kind early-inbound",
		"kind=masquerade,timeout=1s,stream=2s":            "timeout stream refresh",
		"kind=masquerade,timeout-tcp=2s,timeout-icmp=1s":  "timeout-tcp timeout-icmp",
		"kind=masquerade-random,timeout=1s":               "ports timeout refresh",
		"kind=masquerade-fully-random":                    "ports",
		"port-restricted-cone,size=100":                   "size",
		"port-restricted-cone,size=100,full=evict":        "size full",
		"symmetric,range=40000-40299":                     "range",
		"full-cone,timeout-icmp=1s":                       "timeout-icmp",
		"full-cone,hairpin=internal":                      "hairpin",
		"port-restricted-cone,hairpin=external":           "hairpin",
		"full-cone,pooling=arbitrary":                     "pooling",
		"port-restricted-cone,timeout=7200s,stream=7440s": "timeout stream",
	}
	behaviors, texts := map[string]string{}, map[string]string{}
	for text := range rows {
		name := fmt.Sprintf("nat-%d", len(behaviors))
		behaviors[name], texts[name] = text, text
	}
	n := stand(t, labOf(behaviors), sim.Options{Seed: 1})
	for name, r := range measureAll(t, n, certify.Options{Patience: certify.MaxPatience}) {
		if !r.OK() {
			t.Errorf("%s: declared %s\nmeasured %s\n%+v", texts[name], r.Declared, r.Measured, r.Findings)
		}
		for axis := range strings.FieldsSeq(rows[texts[name]]) {
			if !strings.Contains(r.Measured, axis+"=") {
				t.Errorf("%s: %s was not measured: %s", texts[name], axis, r.Measured)
			}
		}
	}
}

// The requirements of RFC 4787, with ICMP errors and what is too large for the way
// out. What is not named is met; fragments there are none.
func TestRequirementsOfRFC4787(t *testing.T) {
	n := stand(t, `
lab:
  routers:
    good: {nat: "full-cone,hairpin=external,timeout=2s", addresses: 2}
    symmetric: {nat: "symmetric,ports=random,refresh=both,timeout=2s"}
    home: {nat: port-restricted-cone}
    linux: {nat: linux}
    cgn: {nat: cgn-rfc6888, addresses: 2}
  hosts:
    a: {behind: good}
    b: {behind: symmetric}
    c: {behind: home}
    d: {behind: linux}
    e: {behind: cgn}
`, sim.Options{Seed: 1})
	results := measureAll(t, n, certify.Options{Requirements: true, Patience: 4 * time.Second})
	never := "REQ-7 REQ-10a REQ-14a"
	for name, want := range map[string][2]string{ // not met, not tested
		"good":      {"REQ-3a REQ-4 REQ-5 REQ-5c REQ-6a", ""},
		"symmetric": {"REQ-1 REQ-3a REQ-4 REQ-5 REQ-5c REQ-8", "REQ-2 REQ-9 REQ-9a"},
		"linux":     {"REQ-3 REQ-4 REQ-8 REQ-9 REQ-9a REQ-11", "REQ-2 REQ-5 REQ-5c REQ-6 REQ-6a"},
		"cgn":       {"REQ-3a REQ-4", "REQ-5 REQ-5c REQ-6 REQ-6a"},
		"home":      {"REQ-3a REQ-4 REQ-8 REQ-9 REQ-9a", "REQ-2 REQ-5 REQ-5c REQ-6 REQ-6a"},
	} {
		r := results[name]
		if !r.OK() || len(r.Requirements) == 0 {
			t.Errorf("%s: declared %s, measured %s, %d requirements", name, r.Declared, r.Measured, len(r.Requirements))
		}
		has := func(list, id string) bool { return strings.Contains(" "+list+" ", " "+id+" ") }
		for _, q := range r.Requirements {
			verdict := certify.Met
			switch {
			case has(want[0], q.ID):
				verdict = certify.NotMet
			case has(want[1]+" "+never, q.ID):
				verdict = certify.NotTested
			}
			if q.Verdict != verdict {
				t.Errorf("%s: %s (%s) is %s, want %s: %s\n  %s", name, q.ID, q.Text, q.Verdict, verdict, q.Why, strings.Join(q.Evidence, "\n  "))
			}
		}
	}
}

// One seed measures the same, however many are measured at once.
func TestCertificationsFollowTheSeed(t *testing.T) {
	measure := func(seed uint64) map[string]certify.Result {
		return measureAll(t, stand(t, `
lab:
  routers:
    a: {nat: "symmetric,ports=random"}
    b: {nat: "port-restricted-cone,timeout=2s"}
    c: {nat: linux, behind: b}
  hosts: {x: {behind: a}, y: {behind: c}}
  links: {a: {delay: 20ms, loss: 10%}, c: {delay: 1ms}}
`, sim.Options{Seed: seed}), certify.Options{})
	}
	first, again := measure(7), measure(7)
	for name, r := range first {
		if !r.OK() {
			t.Errorf("%s: declared %s, measured %s", name, r.Declared, r.Measured)
		}
		if !reflect.DeepEqual(r, again[name]) {
			t.Errorf("%s: two measurements with one seed differ:\n%+v\n%+v", name, r, again[name])
		}
	}
	if other := measure(8); reflect.DeepEqual(first, other) {
		t.Error("another seed measures the same to the last port")
	}
}

// A certification leaves a NAT as one that was built just now, and the links as they
// were; a firewall that was off judges again.
func TestCertificationsLeaveNoTrace(t *testing.T) {
	n := stand(t, `
lab:
  routers: {home: {nat: symmetric, firewall: {inbound: replies}}}
  hosts: {a: {behind: home}, b: {}}
  links: {home: {delay: 20ms, loss: 5%}}
`, sim.Options{Seed: 1})
	r := routerOf(t, n, "home")
	before, err := r.Fingerprint()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Certify(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after, err := r.Fingerprint(); err != nil || after != before {
		t.Errorf("the fingerprint was %q and is %q (%v)", before, after, err)
	}
	if m, err := r.Mappings(); err != nil || m != "no mappings\n" {
		t.Errorf("mappings are left: %s (%v)", m, err)
	}
	if len(r.Changes()) > 0 {
		t.Errorf("changes are left: %v", r.Changes())
	}
	if c, err := r.Firewall(); err != nil || !reflect.DeepEqual(c, sim.FirewallCounts{}) {
		t.Errorf("the firewall has counted %+v (%v)", c, err)
	}
	l, err := n.Link(sim.LinkID{Node: "home"})
	if err != nil {
		t.Fatal(err)
	}
	if up, down := l.Impairments(); up.Delay != 20*time.Millisecond || down.Delay != 20*time.Millisecond {
		t.Errorf("the link's impairments are %v and %v", up, down)
	}
}

// Without a NAT there is nothing to certify, and one whose table is too small cannot
// be.
func TestWhatCannotBeCertified(t *testing.T) {
	n := stand(t, `
lab:
  routers: {plain: {firewall: open}, tiny: {nat: "full-cone,size=8"}}
  hosts: {a: {behind: plain}, b: {behind: tiny}}
`, sim.Options{})
	for name, want := range map[string]string{"plain": "does not translate addresses", "tiny": "certify the behaviour with larger ones"} {
		if _, err := routerOf(t, n, name).Certify(t.Context()); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "router "+name) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}
