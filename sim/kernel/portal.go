//go:build linux

package kernel

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"p2pmodel/nat"
	"p2pmodel/nat/ruleset"
)

// portalTable is the routing table, in the router's namespace, that takes marked
// packets for the router's own.
const portalTable = 80

// portal is the server of a captive portal: HTTP in the router's namespace, at port
// 80 of whatever address was asked. It lives as long as the lab.
type portal struct {
	router  *Router
	gateway netip.Addr // the router's own address for hosts behind
	server  *http.Server
	serving sync.WaitGroup // the server and its connections
}

// startPortals starts the servers of all portals.
func (n *Network) startPortals(ctx context.Context) error {
	for _, r := range n.lab.Routers {
		if r.Firewall == nil || !r.Firewall.Portal.On {
			continue
		}
		if err := n.routers[r.Name].startPortal(ctx); err != nil {
			return n.routers[r.Name].errorf("start its portal", err)
		}
	}
	return nil
}

func (n *Network) stopPortals() error {
	var errs []error
	for _, r := range n.routers {
		if r.portal != nil {
			errs = append(errs, r.portal.server.Close())
			r.portal.serving.Wait()
		}
	}
	return errors.Join(errs...)
}

// gateway is the address that a router has for what stands behind it.
func (r *Router) gateway() netip.Addr {
	if realm, ok := r.network.plan.Realm(r.lab.Name); ok && r.lab.NAT != nil {
		return realm.Gateway
	}
	return r.uplink.planned.NodeAddrs[0]
}

func (r *Router) startPortal(ctx context.Context) error {
	p := &portal{router: r, gateway: r.gateway()}
	var listener net.Listener
	err := r.node.ns.inside(func() (err error) {
		if err := routeMarked(); err != nil {
			return err
		}
		listener, err = transparent.Listen(ctx, "tcp4", fmt.Sprintf(":%d", nat.PortalPort))
		return err
	})
	if err != nil {
		return err
	}
	p.server = &http.Server{
		Handler:           p.handler(),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Second,
		ErrorLog:          log.New(io.Discard, "", 0), // of clients that went away
		ConnState:         p.counted,
	}
	// A connection that outlived a login would be one with whom was asked.
	p.server.SetKeepAlivesEnabled(false)
	r.portal = p
	p.serving.Go(func() { _ = p.server.Serve(listener) }) // ends with Close
	return nil
}

// routeMarked has the namespace of the calling thread take packets with the
// portal's mark for its own, whoever they are for.
func routeMarked() error {
	rule := netlink.NewRule()
	rule.Family, rule.Mark, rule.Table = unix.AF_INET, ruleset.PortalMark, portalTable
	if err := netlink.RuleAdd(rule); err != nil {
		return fmt.Errorf("add a routing rule for the portal's mark (it needs CONFIG_IP_MULTIPLE_TABLES): %w", err)
	}
	everything := net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}
	err := netlink.RouteAdd(&netlink.Route{
		LinkIndex: 1, Dst: &everything, Table: portalTable, Type: unix.RTN_LOCAL, Scope: netlink.SCOPE_HOST,
	})
	if err != nil {
		return fmt.Errorf("add the portal's route: %w", err)
	}
	return nil
}

// transparent makes sockets that answer with the address that was asked, though it
// is another's.
var transparent = net.ListenConfig{
	Control: func(_, _ string, c syscall.RawConn) error {
		var option error
		err := c.Control(func(fd uintptr) {
			option = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_TRANSPARENT, 1)
		})
		if option != nil {
			option = fmt.Errorf("set IP_TRANSPARENT: %w", option)
		}
		return errors.Join(err, option)
	},
}

// counted has stopPortals wait for connections: a new one is told of before Serve
// can return, and a closed one when its answer is done.
func (p *portal) counted(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		p.serving.Add(1)
	case http.StateClosed:
		p.serving.Done()
	}
}

// admit logs an address in.
func (p *portal) admit(addr netip.Addr) error {
	if err := p.router.node.nft(func(conn *nftables.Conn) error { return ruleset.Admit(conn, addr) }); err != nil {
		return err
	}
	p.router.network.log("router %s: %s is logged in at its portal", p.router.lab.Name, addr)
	return nil
}
