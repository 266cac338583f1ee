//go:build linux

package kernel_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"p2pmodel/nat/certify"
)

// TestRequirementsOfRFC4787 has the kernel's NATs reported on, with ICMP errors and
// fragments as they are on wires. What is not named is met.
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
`)
	never := "REQ-7 REQ-10a REQ-14a"
	var group sync.WaitGroup
	for name, want := range map[string][2]string{
		"good":      {"REQ-3a REQ-4 REQ-5 REQ-5c REQ-6a", ""},
		"symmetric": {"REQ-1 REQ-3a REQ-4 REQ-5 REQ-5c REQ-8", "REQ-2 REQ-9 REQ-9a"},
		"linux":     {"REQ-3 REQ-4 REQ-8 REQ-9 REQ-9a REQ-11", "REQ-2 REQ-5 REQ-5c REQ-6 REQ-6a"},
		"cgn":       {"REQ-3a REQ-4", "REQ-5 REQ-5c REQ-6 REQ-6a"},
		"home":      {"REQ-3a REQ-4 REQ-8 REQ-9 REQ-9a", "REQ-2 REQ-5 REQ-5c REQ-6 REQ-6a"},
	} {
		group.Go(func() {
			r, err := router(t, n, name).Measure(t.Context(), certify.Options{Requirements: true, Patience: 4 * time.Second})
			if err != nil || !r.OK() {
				t.Errorf("%s: declared %s, measured %s, %v", name, r.Declared, r.Measured, err)
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
			if len(r.Requirements) == 0 {
				t.Errorf("%s: no report", name)
			}
		})
	}
	group.Wait()
}
