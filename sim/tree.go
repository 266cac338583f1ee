package sim

import (
	"fmt"

	"p2pmodel/sim/link"
)

// Host gives the host of this name.
func (l *Lab) Host(name string) (Host, bool) {
	for _, h := range l.Hosts {
		if h.Name == name {
			return h, true
		}
	}
	return Host{}, false
}

// Router gives the router of this name.
func (l *Lab) Router(name string) (Router, bool) {
	for _, r := range l.Routers {
		if r.Name == name {
			return r, true
		}
	}
	return Router{}, false
}

// Uplink gives the host's uplink of this name; an empty name means the active
// one.
func (h Host) Uplink(name string) (Uplink, bool) {
	if name == "" {
		name = h.ActiveUplink()
	}
	for _, u := range h.Uplinks {
		if u.Name == name {
			return u, true
		}
	}
	return Uplink{}, false
}

// ActiveUplink is the name of the uplink in use at the start.
func (h Host) ActiveUplink() string {
	if h.Active != "" || len(h.Uplinks) == 0 {
		return h.Active
	}
	return h.Uplinks[0].Name
}

// Chain gives the routers from the host's uplink to the Internet, inner first.
// An empty uplink means the active one. The lab must be valid.
func (l *Lab) Chain(host, uplink string) ([]Router, error) {
	h, ok := l.Host(host)
	if !ok {
		return nil, fmt.Errorf("the lab has no host %q", host)
	}
	u, ok := h.Uplink(uplink)
	if !ok {
		return nil, fmt.Errorf("host %q has no uplink %q", host, uplink)
	}
	chain, ok := l.inFront(u.Behind)
	if !ok {
		return nil, fmt.Errorf("host %q is not connected to %s: %w", host, Internet, l.Validate())
	}
	return chain, nil
}

// inFront gives the routers from what a node stands behind to the Internet,
// inner first; false: they do not lead there.
func (l *Lab) inFront(behind string) (chain []Router, ok bool) {
	for at := front(behind); at != Internet; {
		r, ok := l.Router(at)
		if !ok || len(chain) > MaxChain {
			return chain, false
		}
		chain = append(chain, r)
		at = front(r.Behind)
	}
	return chain, true
}

// LinkID gives the full name of a link: where the node is a router or has one
// uplink only, an empty uplink means that one.
func (l *Lab) LinkID(node, uplink string) (LinkID, bool) {
	if _, ok := l.Router(node); ok {
		return LinkID{node, DefaultUplink}, uplink == "" || uplink == DefaultUplink
	}
	h, ok := l.Host(node)
	if !ok {
		return LinkID{}, false
	}
	if uplink == "" && len(h.Uplinks) == 1 {
		uplink = h.Uplinks[0].Name
	}
	for _, u := range h.Uplinks {
		if u.Name == uplink {
			return LinkID{node, uplink}, true
		}
	}
	return LinkID{}, false
}

// Impairments gives what a link does to packets in each direction; nothing for
// links that the lab does not mention.
func (l *Lab) Impairments(id LinkID) (up, down link.Impairment) {
	for _, k := range l.Links {
		if k.Node != id.Node {
			continue
		}
		if full, ok := l.LinkID(k.Node, k.Uplink); ok && full == id {
			return k.Up, k.Down
		}
	}
	return up, down
}

// front resolves the empty Behind.
func front(behind string) string {
	if behind == "" {
		return Internet
	}
	return behind
}
