package sim

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// hasPortal reports whether hosts behind the router have to log in.
func (r Router) hasPortal() bool { return r.Firewall != nil && r.Firewall.Portal.On }

// Portals gives the routers in front of a host's uplink at whose portals it has to
// log in, the inner first. An empty uplink means the active one.
func (l *Lab) Portals(host, uplink string) ([]Router, error) {
	chain, err := l.Chain(host, uplink)
	return slices.DeleteFunc(chain, func(r Router) bool { return !r.hasPortal() }), err
}

// login checks that there is a portal, by one of the host's uplinks at least.
func (c *eventCheck) login() {
	if !c.host(true) || c.lab == nil || c.e.Router != "" && !c.known(keyRouter, "router", c.e.Router, c.lab.routerNames()) {
		return
	}
	for _, u := range c.hostOf().Uplinks {
		portals, _ := c.lab.Portals(c.e.Host, u.Name)
		if slices.ContainsFunc(portals, func(r Router) bool { return c.e.Router == "" || r.Name == c.e.Router }) {
			return
		}
	}
	if c.e.Router == "" {
		c.add(keyHost, "no router in front of host %s has a captive portal (firewall: captive-portal)", c.e.Host)
		return
	}
	c.add(keyRouter, "host %s does not stand behind a captive portal of router %s", c.e.Host, c.e.Router)
}

// login has a host log in at the portals in front of it, by the uplink that it
// uses.
func (d *Director) login(ctx context.Context, e Event) (p Proof, err error) {
	h, err := d.net.Host(e.Host)
	if err != nil {
		return p, err
	}
	portals, err := d.net.Lab().Portals(e.Host, h.Active())
	if err != nil {
		return p, err
	}
	var at []string
	p.State = Nothing
	for _, portal := range portals {
		if e.Router != "" && portal.Name != e.Router {
			continue
		}
		r, err := d.net.Router(portal.Name)
		if err != nil {
			return p, err
		}
		before, err := r.LoggedIn()
		if err != nil {
			return p, err
		}
		if err := r.Login(ctx, e.Host); err != nil {
			return p, err
		}
		after, err := r.LoggedIn()
		if err != nil {
			return p, err
		}
		at = append(at, portal.Name)
		p.Before = append(p.Before, loginLines(portal.Name, before)...)
		p.After = append(p.After, loginLines(portal.Name, after)...)
		if len(after) > len(before) || portal.Firewall.Portal.Session > 0 {
			p.State = Proved
		}
	}
	p.Text = fmt.Sprintf("%s logged in at %s", e.Host, strings.Join(at, ", "))
	switch {
	case len(at) == 0:
		p.Text = fmt.Sprintf("%s has no portal in front of it on its uplink %s", e.Host, h.Active())
	case p.State == Nothing:
		p.Text += ", where it was logged in already"
	}
	return p, nil
}

func loginLines(router string, admitted map[netip.Addr]time.Duration) (all []string) {
	for addr, left := range admitted {
		line := router + ": " + addr.String()
		if left > 0 {
			line += " for " + left.Round(time.Second).String()
		}
		all = append(all, line)
	}
	slices.Sort(all)
	return all
}
