package punch

import "net/netip"

// Controlling reports whether this side nominates: what Config said, or what came of
// a conflict of roles.
func (a *Agent) Controlling() bool { return a.controlling }

// PathOf gives the pair by which a datagram came, as a path; false: none of the
// session leads there.
func (a *Agent) PathOf(b Base, from netip.AddrPort) (Path, bool) {
	p := a.pathTo(b, from)
	return a.pathOf(p), p != nil
}
