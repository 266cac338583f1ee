package certify_test

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"p2pmodel/nat/certify"
)

// require makes a report about a NAT, and gives what became of each requirement.
func require(t *testing.T, text string, addresses int, patience time.Duration, f faults) map[string]certify.Requirement {
	t.Helper()
	b := behavior(t, text)
	external := externalAddrs[:addresses]
	w := newWorld(t, b, external)
	w.faults = f
	cfg := config(b, external, 3)
	cfg.Rand = rand.New(rand.NewPCG(3, 1))
	cfg.Requirements, cfg.Patience, cfg.Oversize = true, patience, 2000
	r := w.certify(t, cfg)
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	if f == (faults{}) && !r.OK() {
		t.Errorf("declared %s\nmeasured %s\n%s", r.Declared, r.Measured, evidence(r))
	}
	all := make(map[string]certify.Requirement)
	for _, q := range r.Requirements {
		all[q.ID] = q
		if q.Why == "" || q.Text == "" || q.Level == "" {
			t.Errorf("%s does not say enough: %+v", q.ID, q)
		}
	}
	return all
}

// TestRequirements: what RFC 4787 says of classic NATs. Requirements that are not
// named are met, but for those that are never tested.
func TestRequirements(t *testing.T) {
	never := "REQ-7 REQ-10a REQ-14a"
	for _, c := range []struct {
		behavior  string
		addresses int
		patience  time.Duration
		notMet    string
		notTested string
	}{
		{"full-cone,hairpin=external,parity=keep", 2, 6 * time.Minute, "REQ-3a", "REQ-6 REQ-6a"},
		{"full-cone,hairpin=external,parity=keep,timeout=5m,fallback=random", 2, 8 * time.Minute, "REQ-3a REQ-6a", ""},
		{"full-cone", 1, 0, "REQ-3a REQ-4 REQ-9 REQ-9a", "REQ-2 REQ-5 REQ-5c REQ-6 REQ-6a"},
		{"full-cone,hairpin=internal,timeout=3m,refresh=both", 1, 5 * time.Minute, "REQ-3a REQ-4 REQ-5c REQ-9a", "REQ-2"},
		{"port-restricted-cone,timeout=30s,pooling=arbitrary", 2, time.Minute, "REQ-2 REQ-3a REQ-4 REQ-5 REQ-5c REQ-6a REQ-8 REQ-9 REQ-9a", ""},
		{"symmetric,timeout=30s", 2, time.Minute, "REQ-1 REQ-3a REQ-4 REQ-5 REQ-5c REQ-6a REQ-8 REQ-9 REQ-9a", ""},
		{"symmetric,ports=random", 2, time.Minute, "REQ-1 REQ-3a REQ-4 REQ-8", "REQ-5 REQ-5c REQ-6 REQ-6a REQ-9 REQ-9a"},
		{"linux", 1, 70 * time.Second, "REQ-3 REQ-4 REQ-5 REQ-5c REQ-8 REQ-9 REQ-9a REQ-11", "REQ-2"},
		{"cgn-rfc6888", 2, 0, "REQ-3a REQ-4", "REQ-5 REQ-5c REQ-6 REQ-6a"},
		{"kind=masquerade", 1, 0, "REQ-3 REQ-4 REQ-8 REQ-9 REQ-9a REQ-11", "REQ-2 REQ-5 REQ-5c REQ-6 REQ-6a"},
	} {
		all := require(t, c.behavior, c.addresses, c.patience, faults{})
		if len(all) != 23 {
			t.Errorf("%s: %d requirements", c.behavior, len(all))
		}
		for id, q := range all {
			want := certify.Met
			switch {
			case has(c.notMet, id):
				want = certify.NotMet
			case has(c.notTested, id), has(never, id):
				want = certify.NotTested
			}
			if q.Verdict != want {
				t.Errorf("%s: %s (%s) is %s, want %s: %s\n  %s", c.behavior, id, q.Text, q.Verdict, want, q.Why, strings.Join(q.Evidence, "\n  "))
			}
		}
	}
}

func has(list, id string) bool { return strings.Contains(" "+list+" ", " "+id+" ") }

// TestFaultsAgainstRequirements: each is found, and nothing else is.
func TestFaultsAgainstRequirements(t *testing.T) {
	for _, c := range []struct {
		faults faults
		notMet string
	}{
		{faults{}, ""},
		{faults{rewrites: true}, "REQ-10"},
		{faults{noReversed: true}, "REQ-14"},
		{faults{noFragNeeded: true}, "REQ-13"},
		{faults{noFragments: true}, "REQ-13a"},
		{faults{noErrors: true}, "REQ-12a REQ-12b"},
		{faults{bySource: true}, "REQ-12a"},
		{faults{errorsEnd: true}, "REQ-12 REQ-12a REQ-12b"},
	} {
		for id, q := range require(t, "full-cone,hairpin=external,parity=keep", 2, 0, c.faults) {
			if failed := q.Verdict == certify.NotMet; failed != has(c.notMet+" REQ-3a", id) {
				t.Errorf("%+v: %s is %s: %s", c.faults, id, q.Verdict, q.Why)
			}
		}
	}
}

func TestWithoutRequirementsThereIsNoReport(t *testing.T) {
	b := behavior(t, "full-cone")
	if r := measure(t, b, b, 1); r.Requirements != nil {
		t.Errorf("nobody asked for %v", r.Requirements)
	}
}
