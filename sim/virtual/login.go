package virtual

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"p2pmodel/nat"
	"p2pmodel/sim"
)

// ErrNoPortal is the error of who is asked for a portal that it does not have.
var ErrNoPortal = errors.New("it has no captive portal")

const (
	// loginPatience is how long a login may take.
	loginPatience = 10 * time.Second
	// loginAgain is when a first segment that was not answered is sent again, and
	// each time after twice as long (RFC 6298 section 2.1).
	loginAgain = time.Second
)

// visit is a login under way.
type visit struct {
	host  string
	from  netip.Addr // as the router sees it
	sent  instant
	took  time.Duration // of the segment that came, one way
	heard chan struct{}
}

// Login implements sim.RunningRouter. Of the host's HTTP one segment is sent, through
// whatever stands between: the rest, the request and its answer, takes the times that
// this one took, and is not lost.
func (r *Router) Login(ctx context.Context, host string) error {
	doing := "log host " + host + " in"
	found, err := r.network.Host(host)
	if err != nil {
		return r.errorf(doing, err)
	}
	h := found.(*Host)
	if err := r.noPortal(); err != nil {
		return r.errorf(doing, err)
	}
	chain, err := r.network.Lab().Chain(host, h.Active())
	if err != nil {
		return r.errorf(doing, err)
	}
	if !slices.ContainsFunc(chain, func(o sim.Router) bool { return o.Name == r.lab.Name }) {
		return r.errorf(doing, fmt.Errorf("it does not stand behind the router with its uplink %s", h.Active()))
	}
	v := &visit{host: host, heard: make(chan struct{})}
	r.visits = append(r.visits, v)
	defer func() { r.visits = slices.DeleteFunc(r.visits, func(o *visit) bool { return o == v }) }()
	if err := r.visit(ctx, h, v); err != nil {
		return r.errorf(doing, err)
	}
	// The handshake's answer comes, and the request goes.
	if err := sim.Sleep(ctx, r.network, 2*v.took); err != nil {
		return r.errorf(doing, err)
	}
	r.wall.table.Login(r.network.time, v.from)
	r.network.log("router %s: %s is logged in at its portal", r.node.name, v.from)
	if err := sim.Sleep(ctx, r.network, v.took); err != nil {
		return r.errorf(doing, err)
	}
	return nil
}

// visit sends the first segment until the portal hears it.
func (r *Router) visit(ctx context.Context, h *Host, v *visit) error {
	n := r.network
	port, ok := h.ephemeral(h.source())
	if !ok {
		return errInUse
	}
	end := n.now + instant(loginPatience)
	for again := loginAgain; n.now < end; again *= 2 {
		p := n.take()
		p.protocol, p.flags, p.ttl = protocolTCP, tcpSYN, defaultTTL
		p.src, p.dst = netip.AddrPortFrom(h.source(), port), netip.AddrPortFrom(r.gateway, nat.PortalPort)
		p.fill([]byte(v.host))
		p.setSize()
		v.sent = n.now
		h.emit(p)
		err := n.Wait(ctx, v.heard, min(again, time.Duration(end-n.now)))
		if !errors.Is(err, sim.ErrTimeout) {
			return err
		}
	}
	return fmt.Errorf("its portal did not answer within %v", loginPatience)
}

// captured takes a packet from inside that the portal gets instead of whom it is
// for: a connection to port 80 of who is not logged in. It is false where the portal
// lets it go on.
func (r *Router) captured(p *packet) bool {
	if !r.wall.policy.Portal.On || p.protocol != protocolTCP || p.dst.Port() != nat.PortalPort || r.wall.table.Admits(r.network.time, p.src.Addr()) {
		return false
	}
	r.wall.counts.Redirected++
	r.hear(p)
	return true
}

// hear gives the portal a segment from inside, and is false where it has none.
func (r *Router) hear(p *packet) {
	n := r.network
	for _, v := range r.visits {
		if p.flags&tcpSYN != 0 && v.host == string(p.payload) && !v.from.IsValid() {
			v.from, v.took = p.src.Addr(), time.Duration(n.now-v.sent)
			close(v.heard)
			n.stirred = true
		}
	}
	n.put(p)
}

// LoggedIn implements sim.RunningRouter.
func (r *Router) LoggedIn() (map[netip.Addr]time.Duration, error) {
	if err := r.noPortal(); err != nil {
		return nil, r.errorf("read who is logged in", err)
	}
	return r.wall.table.Admitted(r.network.time), nil
}

// noPortal is why nobody can log in; nil: one can.
func (r *Router) noPortal() error {
	switch {
	case r.wall == nil:
		return ErrNoFirewall
	case !r.wall.policy.Portal.On:
		return fmt.Errorf("%w: its firewall is %v", ErrNoPortal, r.lab.Firewall)
	}
	return nil
}
