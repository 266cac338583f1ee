package virtual

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"p2pmodel/nat"
	"p2pmodel/nat/table"
	"p2pmodel/sim"
)

// Mappings implements sim.RunningRouter, in the form of the kernel's.
func (r *Router) Mappings() (string, error) {
	if r.table == nil {
		return "", r.errorf("read its mappings", ErrNoNAT)
	}
	all := r.table.Mappings(r.network.time)
	if len(all) == 0 {
		return "no mappings\n", nil
	}
	var b strings.Builder
	for _, m := range all {
		b.WriteString(r.line(m))
		b.WriteByte('\n')
	}
	return b.String(), nil
}

// line is a mapping as text:
//
//	udp 192.168.1.2:5000 → 198.18.0.1:40000 (to any) expires 4.2s; from 198.18.0.9:3478 for 4.2s
func (r *Router) line(m table.Mapping) string {
	tenths := func(t time.Time) time.Duration { return t.Sub(r.network.time).Round(100 * time.Millisecond) }
	var b strings.Builder
	fmt.Fprintf(&b, "%s %v → %v (to %s) expires %v; ", m.Protocol, m.Inside, m.External, remoteText(m.Remote), tenths(m.Expires))
	switch {
	case len(m.Filter) > 0:
	case r.tracked():
		fmt.Fprintf(&b, "from %s for %v", remoteText(m.Remote), tenths(m.Expires))
	case r.behavior.Filtering == nat.EndpointIndependent:
		b.WriteString("from any")
	default:
		b.WriteString("from none")
	}
	for i, f := range m.Filter {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "from %s for %v", remoteText(f.Remote), tenths(f.Expires))
	}
	return b.String()
}

func remoteText(a netip.AddrPort) string {
	switch {
	case !a.IsValid():
		return "any"
	case a.Port() == 0:
		return a.Addr().String()
	}
	return a.String()
}

// Rules implements sim.RunningRouter: what stands in the place of rules.
func (r *Router) Rules() (string, error) {
	var b strings.Builder
	b.WriteString("in virtual time there are no rules, but models of them:\n")
	if r.table != nil {
		fmt.Fprintf(&b, "nat %v\n  external %v\n", r.behavior, r.external)
	}
	r.wall.rules(&b)
	return b.String(), nil
}

// Rules implements sim.RunningHost.
func (h *Host) Rules() (string, error) {
	if h.wall == nil {
		return "", h.errorf("read its rules", ErrNoFirewall)
	}
	var b strings.Builder
	b.WriteString("in virtual time there are no rules, but a model of them:\n")
	h.wall.rules(&b)
	return b.String(), nil
}

// rules describes a firewall, with its counters.
func (w *wall) rules(b *strings.Builder) {
	if w == nil {
		return
	}
	fmt.Fprintf(b, "firewall %v\n", w.policy)
	counts, _ := w.counted() // there is one
	for _, c := range counts.Rules {
		fmt.Fprintf(b, "  %s: %v: %d flows began\n", c.List, ruleText(c.Rule), c.Began)
	}
	fmt.Fprintf(b, "  dropped: entering %d, leaving %d, between %d, spoofed %d, captive %d, redirected %d\n",
		counts.Entering, counts.Leaving, counts.Between, counts.Spoofed, counts.Captive, counts.Redirected)
}

// Fingerprint implements sim.RunningRouter.
func (r *Router) Fingerprint() (string, error) {
	var b strings.Builder
	if r.table != nil {
		fmt.Fprintf(&b, "nat %v external %v", r.behavior, r.external)
	}
	r.wall.fingerprint(&b)
	return b.String(), nil
}

// Fingerprint implements sim.RunningHost.
func (h *Host) Fingerprint() (string, error) {
	if h.wall == nil {
		return "", h.errorf("read its rules", ErrNoFirewall)
	}
	var b strings.Builder
	h.wall.fingerprint(&b)
	return b.String(), nil
}

// fingerprint is what a firewall is, without what traffic changes.
func (w *wall) fingerprint(b *strings.Builder) {
	if w == nil {
		return
	}
	fmt.Fprintf(b, " firewall %v", w.policy)
	counts, _ := w.counted() // there is one
	for _, c := range counts.Rules {
		fmt.Fprintf(b, " %s %s", c.List, ruleText(c.Rule))
	}
}

func ruleText(r sim.Rule) string {
	return fmt.Sprintf("from %v to %v tcp %v udp %v", r.From, r.To, r.TCP, r.UDP)
}
