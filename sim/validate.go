package sim

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"p2pmodel/nat"
	"p2pmodel/sim/document"
	"p2pmodel/sim/link"
)

// The bounds of what a lab may ask for.
const (
	// MaxAddresses bounds Host.Addresses and Router.Addresses: no more can be
	// used by the largest NAT table.
	MaxAddresses = 16
	// MaxChain bounds the routers between a host and the Internet: with more, a
	// packet from host to host could die of its TTL, which starts at 64.
	MaxChain = 30
)

// problem is something wrong with a lab. path says where, as keys of the lab's
// file below `lab:`; a fault of the name itself is one of the last key.
type problem struct {
	path    []string
	ofKey   bool
	message string
}

// Validate checks the whole lab. The error joins one line for each thing that is
// wrong; reading a file gives the same lines with their places.
func (l *Lab) Validate() error {
	var errs []error
	for _, p := range l.problems() {
		errs = append(errs, errors.New(p.message))
	}
	return errors.Join(errs...)
}

// validator collects the problems of one lab.
type validator struct {
	lab     *Lab
	found   []problem
	hosts   map[string]Host
	routers map[string]Router
	names   []string // of routers, for suggestions
}

func (l *Lab) problems() []problem {
	v := &validator{lab: l, hosts: map[string]Host{}, routers: map[string]Router{}}
	if len(l.Hosts)+len(l.Routers) == 0 {
		v.add([]string{"hosts"}, "the lab is empty: it needs hosts or routers")
	}
	for _, r := range l.Routers {
		v.name("router", r.Name, []string{"routers", r.Name})
		if _, twice := v.routers[r.Name]; twice {
			v.addKey([]string{"routers", r.Name}, "router %q is there twice", r.Name)
		}
		v.routers[r.Name] = r
		v.names = append(v.names, r.Name)
	}
	for _, h := range l.Hosts {
		path := []string{"hosts", h.Name}
		v.name("host", h.Name, path)
		if _, twice := v.hosts[h.Name]; twice {
			v.addKey(path, "host %q is there twice", h.Name)
		}
		if _, clash := v.routers[h.Name]; clash {
			v.addKey(path, "%q is the name of a router and of a host; names are unique over both", h.Name)
		}
		v.hosts[h.Name] = h
	}
	for _, r := range l.Routers {
		v.router(r)
	}
	for _, h := range l.Hosts {
		v.host(h)
	}
	seen := map[LinkID]bool{}
	for _, k := range l.Links {
		v.link(k, seen)
	}
	v.accessHosts()
	return v.found
}

func (v *validator) add(path []string, format string, args ...any) {
	v.found = append(v.found, problem{path: path, message: fmt.Sprintf(format, args...)})
}

func (v *validator) addKey(path []string, format string, args ...any) {
	v.found = append(v.found, problem{path: path, ofKey: true, message: fmt.Sprintf(format, args...)})
}

// name checks the form of a name of the given sort.
func (v *validator) name(sort, name string, path []string) {
	switch {
	case name == "":
		v.addKey(path, "%s without a name", sort)
	case name == Internet && sort != "uplink":
		v.addKey(path, "a %s is called %q, which is the name of the root that everything stands behind; call it otherwise", sort, name)
	case !validName(name):
		v.addKey(path, "%s %q: a name starts with a letter or digit and has letters, digits, - and _ only", sort, name)
	}
}

func validName(name string) bool {
	for i, c := range []byte(name) {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !letter && (i == 0 || c != '-' && c != '_') {
			return false
		}
	}
	return name != ""
}

// behind checks that what a node stands behind is there.
func (v *validator) behind(who, behind string, path []string) {
	if front(behind) == Internet {
		return
	}
	if _, ok := v.routers[behind]; ok {
		return
	}
	if _, ok := v.hosts[behind]; ok {
		v.add(path, "%s: %q is a host; only routers have something behind them", who, behind)
		return
	}
	v.add(path, "%s: there is no router %q%s", who, behind, document.Suggest(behind, append(slices.Clone(v.names), Internet)))
}

func (v *validator) addresses(who string, n int, path []string) {
	if n < 0 || n > MaxAddresses {
		v.add(path, "%s: %d addresses are not between 1 and %d", who, n, MaxAddresses)
	}
}

func (v *validator) router(r Router) {
	who, path := fmt.Sprintf("router %q", r.Name), []string{"routers", r.Name}
	v.behind(who, r.Behind, append(path, "behind"))
	v.loop(r)
	v.addresses(who, r.Addresses, append(path, "addresses"))
	if r.NAT == nil && r.Addresses > 1 {
		v.add(append(path, "addresses"), "%s: several addresses are for NAT to choose from, and it has none", who)
	}
	if r.NAT == nil && r.Preset != "" {
		v.add(append(path, "nat"), "%s: preset %q is named, but no NAT is set", who, r.Preset)
	}
	if r.NAT != nil {
		for _, line := range lines(r.NAT.Validate()) {
			axis, _, _ := strings.Cut(line, ":")
			v.add(append(path, "nat", axis), "%s: nat: %s", who, line)
		}
		if r.Preset != "" {
			p, err := nat.PresetNamed(r.Preset)
			if err != nil {
				v.add(append(path, "nat"), "%s: %v", who, err)
			} else if p.Behavior != *r.NAT {
				v.add(append(path, "nat"), "%s: preset %q is named, but the NAT differs from it", who, r.Preset)
			}
		}
	}
	v.wall(wallOf(r))
}

// loop reports routers that stand behind themselves, and chains that are too
// long. A loop is reported once, at the first of its routers.
func (v *validator) loop(r Router) {
	way, at, seen := []string{r.Name}, r, map[string]bool{r.Name: true}
	for {
		next, ok := v.routers[front(at.Behind)]
		if !ok {
			break
		}
		if seen[next.Name] {
			if next.Name == r.Name && r.Name == v.firstOf(way) {
				v.add([]string{"routers", r.Name, "behind"}, "router %q stands behind itself: %s",
					r.Name, strings.Join(append(way, r.Name), " behind "))
			}
			return
		}
		way, at = append(way, next.Name), next
		seen[next.Name] = true
	}
	if len(way) == MaxChain+1 {
		v.add([]string{"routers", r.Name, "behind"}, "router %q is number %d in a row to %s; the most is %d",
			r.Name, len(way), Internet, MaxChain)
	}
}

// firstOf gives the one of the routers that the lab lists first.
func (v *validator) firstOf(names []string) string {
	for _, r := range v.lab.Routers {
		if slices.Contains(names, r.Name) {
			return r.Name
		}
	}
	return ""
}

func (v *validator) host(h Host) {
	who, path := fmt.Sprintf("host %q", h.Name), []string{"hosts", h.Name}
	v.addresses(who, h.Addresses, append(path, "addresses"))
	v.wall(wallOfHost(h))
	if len(h.Uplinks) == 0 {
		v.add(append(path, "uplinks"), "%s: it needs at least one uplink", who)
	}
	var names []string
	for _, u := range h.Uplinks {
		at := append(slices.Clone(path), "uplinks", u.Name)
		if len(h.Uplinks) == 1 && u.Name == DefaultUplink {
			at = slices.Clone(path)
		}
		v.name("uplink", u.Name, at)
		if slices.Contains(names, u.Name) {
			v.addKey(at, "%s: uplink %q is there twice", who, u.Name)
		}
		names = append(names, u.Name)
		what := who
		if u.Name != DefaultUplink {
			what += fmt.Sprintf(", uplink %q", u.Name)
		}
		v.behind(what, u.Behind, append(at, "behind"))
	}
	if h.Active != "" && !slices.Contains(names, h.Active) {
		v.add(append(path, "active"), "%s: the active uplink %q is not one of its uplinks%s", who, h.Active, document.Suggest(h.Active, names))
	}
}

func (v *validator) link(k Link, seen map[LinkID]bool) {
	named := LinkID{k.Node, k.Uplink}
	path, who := []string{"links", named.String()}, fmt.Sprintf("link %q", named)
	if k.Uplink != "" {
		path[1] = k.Node + "/" + k.Uplink
	}
	id, ok := v.lab.LinkID(k.Node, k.Uplink)
	if !ok {
		v.noLink(k, who, path)
	} else if seen[id] {
		v.addKey(path, "%s: this link is there twice", who)
	}
	seen[id] = ok
	if k.Profile != "" {
		if p, ok := link.ProfileNamed(k.Profile); !ok {
			v.add(path, "%s: there is no profile %q%s", who, k.Profile, document.Suggest(k.Profile, link.ProfileNames()))
		} else if p.Up != k.Up || p.Down != k.Down {
			v.add(path, "%s: profile %q is named, but the link differs from it", who, k.Profile)
		}
	}
	if k.Up == k.Down {
		v.impairment(who, k.Up, path)
		return
	}
	v.impairment(who+" up", k.Up, append(slices.Clone(path), "up"))
	v.impairment(who+" down", k.Down, append(slices.Clone(path), "down"))
}

// noLink says why a link is none of the lab's.
func (v *validator) noLink(k Link, who string, path []string) {
	h, isHost := v.hosts[k.Node]
	_, isRouter := v.routers[k.Node]
	var uplinks []string
	for _, u := range h.Uplinks {
		uplinks = append(uplinks, u.Name)
	}
	switch {
	case isRouter:
		v.addKey(path, "%s: a router has one uplink only; name the link %q", who, k.Node)
	case !isHost:
		nodes := slices.Clone(v.names)
		for _, h := range v.lab.Hosts {
			nodes = append(nodes, h.Name)
		}
		v.addKey(path, "%s: there is no host or router %q%s", who, k.Node, document.Suggest(k.Node, nodes))
	case k.Uplink == "":
		v.addKey(path, "%s: host %q has several uplinks; name one, as %q; known: %s", who, k.Node, LinkID{k.Node, uplinks[0]}, strings.Join(uplinks, ", "))
	default:
		v.addKey(path, "%s: host %q has no uplink %q%s", who, k.Node, k.Uplink, document.Suggest(k.Uplink, uplinks))
	}
}

func (v *validator) impairment(who string, i link.Impairment, path []string) {
	for _, p := range i.Problems() {
		v.add(append(slices.Clone(path), p.Axis), "%s: %s", who, p.Message)
	}
}

// lines splits an error that joins several.
func lines(err error) []string {
	if err == nil {
		return nil
	}
	return strings.Split(err.Error(), "\n")
}
