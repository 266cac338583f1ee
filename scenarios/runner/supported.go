package runner

import (
	"errors"
	"fmt"
	"strings"

	"p2pmodel/nat"
	"p2pmodel/scenarios"
)

// Unsupported says which NAT of a scenario cannot be built, of the lab's own, those
// of its controls, and those that events bring; nil if all can be. supported
// tells of one.
func Unsupported(sc *scenarios.Scenario, supported func(nat.Behavior) error) error {
	for _, v := range variants(sc, false) {
		for _, r := range v.lab.Routers {
			if r.NAT == nil {
				continue
			}
			for _, b := range v.behaviors(r) {
				if err := supported(b); err != nil {
					where := sc.ID
					if v.name != "" {
						where += fmt.Sprintf(", control %q", v.name)
					}
					return fmt.Errorf("%s: router %s: %w", where, r.Name, err)
				}
			}
		}
	}
	return nil
}

// NeedsKernel says why a scenario runs on the kernel only; nil if it runs in virtual
// time, too.
func NeedsKernel(sc *scenarios.Scenario) error {
	switch {
	case sc.System != nil:
		return errors.New("its servers (system:) are processes, and those live in the machine's time: only the kernel fabric runs them")
	case sc.TLS != 0:
		return errors.New("its servers are reached over TLS (tls:), and virtual time carries no streams: only the kernel fabric does")
	case len(sc.AllPrograms()) > 0:
		var names []string
		for _, p := range sc.AllPrograms() {
			names = append(names, p.Name)
		}
		return fmt.Errorf("it runs programs (%s), and those live in the machine's time: only the kernel fabric runs them", strings.Join(names, ", "))
	}
	return nil
}
