package differential

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"p2pmodel/nat"
	"p2pmodel/nat/ruleset"
	"p2pmodel/nat/table"
)

// Blind reports whether a packet that was dropped may have made a mapping, whose port
// only a list of mappings can tell: one that is hairpinned is dropped after its sender
// was translated.
func (j *Judge) Blind(p table.Packet, o Outcome) bool {
	return !o.Passed && j.Behavior().Hairpin == nat.HairpinExternal && slices.Contains(j.external, p.Dst.Addr())
}

// Find gives the external endpoint by which a packet's sender is mapped.
func (j *Judge) Find(p table.Packet, live []ruleset.Mapping) netip.AddrPort {
	for _, m := range live {
		remote := m.Remote
		if m.Inside == p.Src && m.Protocol == p.Protocol.String() &&
			(!remote.IsValid() || remote == p.Dst || remote == netip.AddrPortFrom(p.Dst.Addr(), 0)) {
			return m.External
		}
	}
	return netip.AddrPort{}
}

// Listing holds the list of live mappings, which was made between two times, against
// the model's. What ends at about that time may be on it or not.
func (j *Judge) Listing(from, to time.Time, live []ruleset.Mapping) Verdict {
	v := j.listing(from, to, live)
	if v.Disagreement != "" && j.otherwise(func(o *Judge) bool { return o.listing(from, to, live).Disagreement == "" }) {
		return Verdict{}
	}
	return v
}

func (j *Judge) listing(from, to time.Time, live []ruleset.Mapping) Verdict {
	near := Tolerance + max(j.slack, to.Sub(from))
	if j.behavior.Kind != nat.KindRFC {
		near += time.Second // conntrack tells whole seconds
	}
	model := make(map[string]time.Duration)
	for _, m := range j.shadow.Table().Mappings(from) {
		key := line(m.Protocol.String(), m.Inside, m.External, m.Remote)
		model[key] = m.Expires.Sub(from)
		for _, f := range m.Filter {
			model[key+" from "+remoteName(f.Remote)] = f.Expires.Sub(from)
		}
	}
	kernel := make(map[string]time.Duration)
	for _, m := range live {
		if m.Inside == m.External {
			continue // a flow of the router itself
		}
		key := line(m.Protocol, m.Inside, m.External, m.Remote)
		kernel[key] = m.Expires
		for _, f := range m.Filter {
			if j.behavior.Kind == nat.KindRFC {
				kernel[key+" from "+remoteName(f.Remote)] = f.Expires
			}
		}
	}
	var wrong []string
	for key, ends := range kernel {
		want, known := model[key]
		if known && j.behavior.Kind == nat.KindRFC && to.Sub(from) < prompt {
			j.tally.apart(ends - want)
		}
		switch {
		case !known && ends > near:
			wrong = append(wrong, fmt.Sprintf("the kernel lists %s, for %v, and the model does not have it", key, ends))
		case known && (ends-want).Abs() > near:
			wrong = append(wrong, fmt.Sprintf("%s: it ends in %v on the kernel, and in %v by the model", key, ends, want.Round(time.Millisecond)))
		}
	}
	for key, ends := range model {
		if _, known := kernel[key]; !known && ends > near && (j.behavior.Kind == nat.KindRFC || !strings.Contains(key, " from ")) {
			wrong = append(wrong, fmt.Sprintf("the model has %s, for %v, and the kernel does not list it", key, ends.Round(time.Millisecond)))
		}
	}
	if len(wrong) == 0 {
		return Verdict{}
	}
	slices.SortFunc(wrong, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
	return Verdict{Disagreement: "mappings afterwards: " + wrong[0]}
}

// prompt is within what time a list has to come for its times to be counted.
const prompt = 3 * time.Millisecond

// line names a mapping.
func line(protocol string, inside, external, remote netip.AddrPort) string {
	return fmt.Sprintf("%s %s > %s for %s", protocol, name(inside), name(external), remoteName(remote))
}

func remoteName(a netip.AddrPort) string {
	switch {
	case !a.IsValid():
		return "*"
	case a.Port() == 0:
		return name(a)[:1] + ":*"
	}
	return name(a)
}
