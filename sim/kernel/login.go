//go:build linux

package kernel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/google/nftables"

	"p2pmodel/nat/ruleset"
	"p2pmodel/sim"
)

// ErrNoPortal is returned where a router is asked for what only a portal has.
var ErrNoPortal = errors.New("it has no captive portal")

// loginPatience is how long a login waits for the portal.
const loginPatience = 10 * time.Second

// Login implements sim.RunningRouter.
func (r *Router) Login(ctx context.Context, host string) error {
	doing := "log host " + host + " in"
	h := r.network.hosts[host]
	if h == nil {
		return r.errorf(doing, unknown("host", host, r.network.hosts))
	}
	if r.portal == nil {
		return r.errorf(doing, r.errNoPortal())
	}
	active := h.Active()
	chain, err := r.network.lab.Chain(host, active)
	if err != nil {
		return r.errorf(doing, err)
	}
	if !slices.ContainsFunc(chain, func(o sim.Router) bool { return o.Name == r.lab.Name }) {
		return r.errorf(doing, fmt.Errorf("it does not stand behind the router with its uplink %s", active))
	}
	ctx, cancel := context.WithTimeout(ctx, loginPatience)
	defer cancel()
	if err := r.portal.ask(ctx, h); err != nil {
		return r.errorf(doing, err)
	}
	return nil
}

// ask has the host log in.
func (p *portal) ask(ctx context.Context, h *Host) error {
	transport := &http.Transport{
		DialContext:       func(ctx context.Context, network, addr string) (net.Conn, error) { return h.Dial(ctx, "tcp4", addr) },
		DisableKeepAlives: true,
	}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url(portalLogin), strings.NewReader(""))
	if err != nil {
		return err
	}
	answer, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("the portal answers %s", answer.Status)
	}
	return nil
}

// LoggedIn implements sim.RunningRouter.
func (r *Router) LoggedIn() (admitted map[netip.Addr]time.Duration, err error) {
	if r.portal == nil {
		return nil, r.errorf("read who is logged in", r.errNoPortal())
	}
	err = r.node.nft(func(conn *nftables.Conn) (err error) {
		admitted, err = ruleset.Admitted(conn)
		return err
	})
	if err != nil {
		return nil, r.errorf("read who is logged in", err)
	}
	return admitted, nil
}

func (r *Router) errNoPortal() error {
	if r.lab.Firewall == nil {
		return ErrNoFirewall
	}
	return fmt.Errorf("%w: its firewall is %v", ErrNoPortal, r.lab.Firewall)
}
