package table

import (
	"net/netip"
	"time"

	"p2pmodel/nat"
)

// session is a login at a portal.
type session struct {
	ends    time.Time
	endless bool
}

// Login admits an address behind the firewall: from now on the firewall's policy
// is for it. It does nothing where there is no portal.
func (f *Firewall) Login(now time.Time, addr netip.Addr) {
	if f.policy.Portal.On {
		f.admitted[addr] = session{now.Add(f.policy.Portal.Session), f.policy.Portal.Session == 0}
	}
}

// Admits reports whether the portal, if there is one, lets an address behind the
// firewall use the network.
func (f *Firewall) Admits(now time.Time, addr netip.Addr) bool {
	s, known := f.admitted[addr]
	return !f.policy.Portal.On || known && (s.endless || now.Before(s.ends))
}

// Admitted gives the addresses that are logged in, and for how long they will be; 0:
// for good.
func (f *Firewall) Admitted(now time.Time) map[netip.Addr]time.Duration {
	admitted := make(map[netip.Addr]time.Duration)
	for addr, s := range f.admitted {
		switch {
		case s.endless:
			admitted[addr] = 0
		case now.Before(s.ends):
			admitted[addr] = s.ends.Sub(now)
		}
	}
	return admitted
}

// captive is what becomes of a packet from a host behind that is not logged in:
// the portal answers its connections to port 80.
func (f *Firewall) captive(p Packet) Verdict {
	if p.Protocol == TCP && p.Dst.Port() == nat.PortalPort {
		return Verdict{Packet: p, Drop: Redirected}
	}
	return f.refuseLeaving(p, NotLoggedIn)
}
