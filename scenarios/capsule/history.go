package capsule

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"p2pmodel/scenarios"
	"p2pmodel/sim"
	"p2pmodel/sim/witness"
)

// Mapping is one life of a NAT mapping, as packets on both sides of the router
// showed it. Times are milliseconds since the run began; in real ones a mapping
// lives from a little before its first use on.
type Mapping struct {
	Router   string   `json:"router"`
	Protocol string   `json:"protocol"`
	Inside   string   `json:"inside"`   // address and port behind the router
	External string   `json:"external"` // what they are outside
	FirstMS  float64  `json:"first_ms"` // first packet that was translated by it
	LastMS   float64  `json:"last_ms"`
	Out      int      `json:"out"` // packets from inside
	In       int      `json:"in"`  // packets to the inside
	Remotes  []Remote `json:"remotes"`
	// Ended is what ended it, as far as it was seen; EndedMS is when.
	Ended   string  `json:"ended"`
	EndedMS float64 `json:"ended_ms,omitempty"`
}

// Remote is somebody who was talked to by way of a mapping.
type Remote struct {
	Address string  `json:"address"`
	FirstMS float64 `json:"first_ms"`
	LastMS  float64 `json:"last_ms"`
	Out     int     `json:"out"`
	In      int     `json:"in"`
}

// Bounds of the history: a scan or a flood makes very many.
const (
	maxMappings = 10_000
	maxRemotes  = 200 // of a mapping
)

// key names a mapping; what of it is lost and made anew with the same numbers is
// another life of it.
type key struct {
	router           string
	protocol         uint8
	inside, external netip.AddrPort
}

// pathKey is what an inside endpoint's packets to one remote belong to: they have
// one external endpoint at a time.
type pathKey struct {
	router         string
	protocol       uint8
	inside, remote netip.AddrPort
}

// happening is what tells of mappings, at a time: a translated packet, a packet
// that found no mapping, an event that emptied a table.
type happening struct {
	at     time.Time
	key    key
	remote netip.AddrPort
	out    bool
	ended  string       // not "": mappings end here; key names the router, and the external endpoint if it is about one only
	inside []netip.Addr // whose mappings end; empty: everybody's
}

// How mappings end that nothing was seen to end.
const (
	standing = "not ended: in the table at the end of the run"
	unseen   = "unseen: not in the table at the end of the run"
)

// history derives the mappings of a run from its captures.
func history(run *scenarios.Run) []Mapping {
	b := &biography{run: run, live: map[key]*Mapping{}, paths: map[pathKey]key{}}
	for _, h := range happenings(run) {
		if h.ended != "" {
			b.end(h)
		} else {
			b.use(h)
		}
	}
	all := make([]Mapping, 0, len(b.all))
	for _, m := range b.all {
		if m.Ended == "" {
			m.Ended = unseen
			if slices.Contains(strings.Fields(run.Mappings[m.Router]), m.External) {
				m.Ended = standing
			}
		}
		all = append(all, *m)
	}
	slices.SortStableFunc(all, func(a, b Mapping) int {
		return cmp.Or(strings.Compare(a.Router, b.Router), cmp.Compare(a.FirstMS, b.FirstMS))
	})
	return all
}

// happenings reads them from packets, drops and events, in order of time.
func happenings(run *scenarios.Run) []happening {
	var scene witness.Scene
	for _, h := range run.Lab.Hosts {
		scene.Hosts = append(scene.Hosts, h.Name)
	}
	var all []happening
	for _, t := range witness.Traces(run.Packets, scene) {
		for i := 1; i < len(t.Hops); i++ {
			a, b := t.Hops[i-1], t.Hops[i]
			if !b.Translated || a.Point.Node != b.Point.Node {
				continue
			}
			// A packet that hairpins is translated at both of its ends.
			if a.Src != b.Src {
				all = append(all, happening{at: b.At, key: key{b.Point.Node, t.Protocol, a.Src, b.Src}, remote: a.Dst, out: true})
			}
			if a.Dst != b.Dst {
				all = append(all, happening{at: b.At, key: key{b.Point.Node, t.Protocol, b.Dst, a.Dst}, remote: b.Src})
			}
		}
	}
	for _, d := range run.Drops {
		if d.Cause == witness.CauseExpired || d.Cause == witness.CauseReset {
			all = append(all, happening{at: d.At, key: key{router: d.Node, protocol: d.Protocol, external: d.Dst},
				ended: fmt.Sprintf("%s: found gone by a packet from %v", d.Cause, d.Src)})
		}
	}
	for _, e := range run.Events {
		event, err := sim.ParseEventText(run.Lab, e.Text)
		if err != nil {
			continue // an event of peers or servers
		}
		switch event.Kind {
		case sim.EventReboot, sim.EventFlush, sim.EventSwap, sim.EventRebind:
			h := happening{at: e.At, key: key{router: event.Router}, ended: "event: " + e.Text}
			if host, ok := run.Lab.Host(event.Host); ok && run.Plan != nil {
				h.inside = run.Plan.Addresses(host.Name, host.ActiveUplink())
			}
			all = append(all, h)
		}
	}
	slices.SortStableFunc(all, func(a, b happening) int { return a.at.Compare(b.at) })
	return all
}

// biography follows mappings through a run.
type biography struct {
	run   *scenarios.Run
	all   []*Mapping // every life, in order of first use
	live  map[key]*Mapping
	paths map[pathKey]key
}

func (b *biography) since(at time.Time) float64 {
	return float64(at.Sub(b.run.Started).Microseconds()) / 1000
}

// use notes a packet that a mapping translated.
func (b *biography) use(h happening) {
	at := b.since(h.at)
	p := pathKey{h.key.router, h.key.protocol, h.key.inside, h.remote}
	if before, ok := b.paths[p]; ok && before != h.key && h.out {
		if m := b.live[before]; m != nil {
			m.Ended, m.EndedMS = fmt.Sprintf("another took its place: %v", h.key.external), at
			delete(b.live, before)
		}
	}
	if h.out {
		b.paths[p] = h.key
	}
	m := b.live[h.key]
	if m == nil {
		if len(b.all) >= maxMappings {
			return
		}
		m = &Mapping{
			Router: h.key.router, Protocol: witness.ProtocolName(h.key.protocol),
			Inside: witness.Endpoint(h.key.inside), External: witness.Endpoint(h.key.external), FirstMS: at, Remotes: []Remote{},
		}
		b.all, b.live[h.key] = append(b.all, m), m
	}
	m.LastMS = at
	remote := m.remote(witness.Endpoint(h.remote), at)
	if h.out {
		m.Out++
	} else {
		m.In++
	}
	if remote == nil {
		return
	}
	if remote.LastMS = at; h.out {
		remote.Out++
	} else {
		remote.In++
	}
}

// remote finds a remote of the mapping, or enters it; nil if there are too many.
func (m *Mapping) remote(address string, at float64) *Remote {
	i := slices.IndexFunc(m.Remotes, func(r Remote) bool { return r.Address == address })
	if i < 0 {
		if len(m.Remotes) >= maxRemotes {
			return nil
		}
		m.Remotes = append(m.Remotes, Remote{Address: address, FirstMS: at})
		i = len(m.Remotes) - 1
	}
	return &m.Remotes[i]
}

// end ends mappings of a router: those of one external endpoint, or all.
func (b *biography) end(h happening) {
	for k, m := range b.live {
		one := h.key.external.IsValid()
		if k.router != h.key.router || one && (k.external != h.key.external || k.protocol != h.key.protocol) {
			continue
		}
		if len(h.inside) > 0 && !slices.Contains(h.inside, k.inside.Addr()) {
			continue
		}
		m.Ended, m.EndedMS = h.ended, b.since(h.at)
		delete(b.live, k)
	}
}

// mappingsText is what is known of a router's mappings, for people.
func mappingsText(atEnd string, all []Mapping, router string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "At the end of the run, from the kernel:\n\n%s\nHistory, from the packets on both sides; seconds since the run began:\n\n", atEnd)
	tw := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "FIRST\tLAST\tPROTOCOL\tINSIDE\tEXTERNAL\tREMOTE\tOUT\tIN\tENDED")
	rows := 0
	for _, m := range all {
		if m.Router != router {
			continue
		}
		ended := m.Ended
		if m.EndedMS > 0 {
			ended = fmt.Sprintf("%.3f  %s", m.EndedMS/1000, m.Ended)
		}
		for _, r := range m.Remotes {
			rows++
			fmt.Fprintf(tw, "%.3f\t%.3f\t%s\t%s\t%s\t%s\t%d\t%d\t%s\n", r.FirstMS/1000, r.LastMS/1000, m.Protocol, m.Inside, m.External, r.Address, r.Out, r.In, ended)
		}
	}
	_ = tw.Flush() // to memory
	if rows == 0 {
		b.WriteString("nothing was translated\n")
	}
	return b.String()
}
