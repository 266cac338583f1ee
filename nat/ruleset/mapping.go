//go:build linux

package ruleset

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/google/nftables"
)

// Mapping is a live mapping of the NAT.
type Mapping struct {
	Protocol string // "udp", "tcp" or "icmp"; the port of icmp is the echo identifier
	Inside   netip.AddrPort
	External netip.AddrPort
	// Remote is what the mapping is for: the zero AddrPort for
	// endpoint-independent mapping, with port 0 for address-dependent mapping.
	Remote  netip.AddrPort
	Expires time.Duration // from now, unless it is refreshed
	// Filter are the remote sides that may send in. Nil: any may.
	Filter []FilterEntry
}

// FilterEntry is a remote side that may send to a mapping.
type FilterEntry struct {
	Remote  netip.AddrPort // port 0: any port
	Expires time.Duration  // from now, unless it is refreshed
}

// String gives the mapping and what its filter lets in, on one line:
//
//	udp 192.168.1.2:5000 → 198.18.0.1:40000 (to any) expires 4.2s; from 198.18.0.9:3478 for 4.2s
func (m Mapping) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %v → %v (to %s) expires %v; ", m.Protocol, m.Inside, m.External, remoteText(m.Remote), tenths(m.Expires))
	switch {
	case m.Filter == nil:
		b.WriteString("from any")
	case len(m.Filter) == 0:
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

func remoteText(r netip.AddrPort) string {
	switch {
	case !r.IsValid():
		return "any"
	case r.Port() == 0:
		return r.Addr().String()
	}
	return r.String()
}

// tenths rounds a duration for people.
func tenths(d time.Duration) time.Duration { return d.Round(100 * time.Millisecond) }

// RenderMappings gives mappings as text for people, a line each.
func RenderMappings(ms []Mapping) string {
	if len(ms) == 0 {
		return "no mappings\n"
	}
	var b strings.Builder
	for _, m := range ms {
		b.WriteString(m.String())
		b.WriteByte('\n')
	}
	return b.String()
}

// Mappings gives the live mappings of the namespace's NAT, ordered by protocol
// and external side. Traffic that passes meanwhile may be missed in parts.
func Mappings(conn *nftables.Conn) ([]Mapping, error) {
	sets, err := conn.GetSets(tableNamed(natTable))
	if err != nil {
		return nil, fmt.Errorf("mappings: list the sets of table %s: %w", natTable, err)
	}
	tracked, err := isTracked(conn)
	if err != nil {
		return nil, fmt.Errorf("mappings: %w", err)
	}
	if tracked {
		return trackedMappings(conn, sets)
	}
	var all []Mapping
	for _, p := range protocols {
		ms, err := mappingsOf(conn, p.name, sets)
		if err != nil {
			return nil, err
		}
		all = append(all, ms...)
	}
	return all, nil
}

func mappingsOf(conn *nftables.Conn, protocol string, sets []*nftables.Set) ([]Mapping, error) {
	elements := map[string][]nftables.SetElement{}
	present := map[string]bool{}
	for _, s := range sets {
		name, ok := strings.CutPrefix(s.Name, protocol+"_")
		if !ok || !slices.Contains([]string{setIn, setFilter, setContacted, setBorn}, name) {
			continue
		}
		es, err := conn.GetSetElements(s)
		if err != nil {
			return nil, fmt.Errorf("mappings: list set %s: %w", s.Name, err)
		}
		elements[name], present[name] = es, true
	}

	// How long mappings live though they are in use.
	left := map[netip.AddrPort]time.Duration{}
	for _, e := range elements[setBorn] {
		at, _ := splitKey(e.Key)
		left[at] = e.Expires
	}
	// What may enter, by the external or the inside side.
	entries := map[netip.AddrPort][]FilterEntry{}
	for _, e := range append(elements[setFilter], elements[setContacted]...) {
		at, remote := splitKey(e.Key)
		entries[at] = append(entries[at], FilterEntry{Remote: remote, Expires: e.Expires})
	}
	var ms []Mapping
	for _, e := range elements[setIn] {
		m := Mapping{Protocol: protocol, Expires: e.Expires}
		m.External, _ = splitKey(e.Key)
		m.Inside, m.Remote = splitKey(e.Val)
		if present[setBorn] {
			rest, young := left[m.External]
			if !young {
				continue
			}
			m.Expires = min(m.Expires, rest)
		}
		filter := entries[m.External]
		if present[setContacted] {
			filter = entries[m.Inside]
		}
		if present[setFilter] || present[setContacted] {
			m.Filter = append([]FilterEntry{}, filter...)
			slices.SortFunc(m.Filter, func(a, b FilterEntry) int { return a.Remote.Compare(b.Remote) })
		}
		ms = append(ms, m)
	}
	slices.SortFunc(ms, func(a, b Mapping) int {
		return cmp.Or(a.External.Compare(b.External), a.Inside.Compare(b.Inside), a.Remote.Compare(b.Remote))
	})
	return ms, nil
}

// splitKey reads address . port [. address [. port]], four bytes each. What is
// missing is zero.
func splitKey(key []byte) (first, second netip.AddrPort) {
	at := func(b []byte) netip.AddrPort {
		switch {
		case len(b) < 4:
			return netip.AddrPort{}
		case len(b) < 6:
			return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b)), 0)
		}
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b)), binary.BigEndian.Uint16(b[4:]))
	}
	return at(key), at(key[min(8, len(key)):])
}
