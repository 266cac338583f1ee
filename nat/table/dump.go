package table

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Mapping is a live mapping, for people and tests.
type Mapping struct {
	Protocol Protocol
	Inside   netip.AddrPort
	// Remote is what the mapping looks at of the remote side: invalid for
	// endpoint-independent mapping, with port 0 for address-dependent.
	Remote   netip.AddrPort
	External netip.AddrPort
	Expires  time.Time
	// Filter says who may send in; with endpoint-independent filtering it is
	// empty, and everybody may.
	Filter []FilterEntry
}

// FilterEntry lets a remote send in.
type FilterEntry struct {
	Remote  netip.AddrPort // with port 0 for address-dependent filtering
	Expires time.Time
}

// String is one line, as in
// "udp 10.0.0.2:5000 > 198.18.0.1:5000 for * from 198.18.0.9:3478".
func (m Mapping) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s > %s for %s from ", m.Protocol, m.Inside, m.External, remote(m.Remote))
	for i, f := range m.Filter {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(remote(f.Remote))
	}
	if len(m.Filter) == 0 {
		b.WriteString("*")
	}
	return b.String()
}

func remote(a netip.AddrPort) string {
	switch {
	case !a.IsValid():
		return "*"
	case a.Port() == 0:
		return a.Addr().String() + ":*"
	}
	return a.String()
}

// Mappings gives the mappings that are live, ordered by protocol and external
// endpoint.
func (t *Table) Mappings(now time.Time) []Mapping {
	t.purge(now)
	var all []Mapping
	if t.flows != nil {
		all = t.flows.mappings(now)
	}
	for protocol, s := range t.states {
		for _, m := range s.live {
			live := Mapping{Protocol: Protocol(protocol), Inside: m.key.inside, Remote: m.key.remote, External: m.external, Expires: m.expires}
			for r, expires := range m.filter.remotes {
				if r.IsValid() && now.Before(expires) {
					live.Filter = append(live.Filter, FilterEntry{Remote: r, Expires: expires})
				}
			}
			slices.SortFunc(live.Filter, func(a, b FilterEntry) int { return a.Remote.Compare(b.Remote) })
			all = append(all, live)
		}
	}
	slices.SortFunc(all, func(a, b Mapping) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), a.External.Compare(b.External), a.Remote.Compare(b.Remote))
	})
	return all
}

// NextExpiry is when the next mapping expires if nothing refreshes it; the zero
// time means that there is none.
func (t *Table) NextExpiry() time.Time {
	if t.flows != nil {
		return t.flows.nextExpiry()
	}
	var next time.Time
	for _, s := range t.states {
		if len(s.live) > 0 && (next.IsZero() || s.live[0].expires.Before(next)) {
			next = s.live[0].expires
		}
	}
	return next
}
