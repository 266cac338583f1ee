package sim

import (
	"p2pmodel/nat"
	"p2pmodel/sim/document"
)

// The keys of a lab's parts in files. Decoder and schema have the same.
var (
	labKeys      = []string{"routers", "hosts", "links"}
	routerKeys   = []string{"nat", "firewall", "behind", "addresses"}
	hostKeys     = []string{"behind", "uplinks", "active", "addresses", "firewall"}
	uplinkKeys   = []string{"behind"}
	firewallKeys = append(nat.FirewallYAMLKeys(), nat.AccessKeys()...)
)

// ParseLab reads a file that has a lab under the key `lab` and nothing else. The
// error is of type document.Errors.
func ParseLab(file string, data []byte) (*Lab, error) {
	doc, err := document.Parse(file, data)
	if err != nil {
		return nil, err
	}
	lab := DecodeLab(doc.Root().Map("lab").Need("lab"))
	if err := doc.Err(); err != nil {
		return nil, err
	}
	return lab, nil
}

// DecodeLab reads a lab from a node and validates it. What is wrong is recorded
// in the node's document; the lab is to be used only if that has no errors.
func DecodeLab(n *document.Node) *Lab {
	d, before := decoder{lab: &Lab{}, broken: map[string]bool{}}, n.Errors()
	m := n.Map(labKeys...)
	misread := n.Errors() > before // a section is missing that was meant
	if !n.Exists() {
		return d.lab
	}
	for _, r := range m.Get("routers").Map().Entries() {
		d.sound("routers", r, func() { d.lab.Routers = append(d.lab.Routers, decodeRouter(r)) })
	}
	for _, h := range m.Get("hosts").Map().Entries() {
		d.sound("hosts", h, func() { d.lab.Hosts = append(d.lab.Hosts, decodeHost(h)) })
	}
	for _, k := range m.Get("links").Map().Entries() {
		d.sound("links", k, func() { d.lab.Links = append(d.lab.Links, decodeLink(k)) })
	}
	for _, p := range d.lab.problems() {
		// What could not be read is not judged as well: one mistake, one message.
		if len(p.path) == 1 && misread || len(p.path) > 1 && d.broken[p.path[0]+" "+p.path[1]] {
			continue
		}
		at := n.Find(p.path...)
		if p.ofKey || at.Name() != p.path[len(p.path)-1] {
			at.KeyErrorf("%s", p.message)
		} else {
			at.Errorf("%s", p.message)
		}
	}
	return d.lab
}

// decoder reads one lab.
type decoder struct {
	lab    *Lab
	broken map[string]bool // "section name" of the entries that had errors
}

// sound notes whether the decoding of an entry of a section had errors.
func (d *decoder) sound(section string, n *document.Node, decode func()) {
	before := n.Errors()
	decode()
	d.broken[section+" "+n.Name()] = n.Errors() > before
}

func decodeRouter(n *document.Node) Router {
	m := n.Map(routerKeys...)
	r := Router{Name: n.Name(), Behind: decodeBehind(m), Addresses: decodeAddresses(m)}
	if n := m.Get("nat"); n.Exists() {
		var b nat.Behavior
		b, r.Preset = DecodeNAT(n)
		r.NAT = &b
	}
	r.Firewall, r.Access = decodeFirewall(m.Get("firewall"))
	return r
}

func decodeBehind(m document.Map) string {
	behind := m.Get("behind").Text()
	if behind == Internet {
		return ""
	}
	return behind
}

func decodeAddresses(m document.Map) int { return m.Get("addresses").Int(1, MaxAddresses) }

func decodeHost(n *document.Node) Host {
	m := n.Map(hostKeys...)
	h := Host{Name: n.Name(), Addresses: decodeAddresses(m), Active: m.Get("active").Text()}
	h.Firewall, h.Access = decodeFirewall(m.Get("firewall"))
	uplinks := m.Get("uplinks")
	if !uplinks.Exists() {
		h.Uplinks = []Uplink{{DefaultUplink, decodeBehind(m)}}
		return h
	}
	if behind := m.Get("behind"); behind.Exists() {
		behind.KeyErrorf("host %q has uplinks: what they stand behind is said there, as in uplinks: {wifi: {behind: …}}", h.Name)
	}
	for _, u := range uplinks.Map().Entries() {
		h.Uplinks = append(h.Uplinks, Uplink{u.Name(), decodeBehind(u.Map(uplinkKeys...))})
	}
	return h
}
