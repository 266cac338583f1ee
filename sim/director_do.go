package sim

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// lost counts what a link has taken, of some directions.
func lost(l RunningLink, ways ...Direction) func() (uint64, error) {
	return func() (n uint64, err error) {
		up, down := l.Lost()
		if slices.Contains(ways, Up) {
			n += up
		}
		if slices.Contains(ways, Down) {
			n += down
		}
		return n, nil
	}
}

// addressesOf gives all present addresses of hosts, never nil.
func addressesOf(net Network, hosts []string) ([]netip.Addr, error) {
	all := []netip.Addr{}
	for _, name := range hosts {
		h, err := net.Host(name)
		if err != nil {
			return nil, err
		}
		addrs, err := h.Addresses()
		if err != nil {
			return nil, fmt.Errorf("host %s: %w", name, err)
		}
		all = append(all, addrs...)
	}
	return all, nil
}

// mappingsOf are the live mappings of a router, a line each; none where it does not
// translate.
func mappingsOf(r RunningRouter) ([]string, error) {
	if _, translates := r.Behavior(); !translates {
		return nil, nil
	}
	text, err := r.Mappings()
	if err != nil {
		return nil, err
	}
	var all []string
	for line := range strings.Lines(text) {
		if strings.Contains(line, "→") {
			all = append(all, strings.TrimSpace(line))
		}
	}
	return all, nil
}

// router does what changes a NAT.
func (d *Director) router(e Event) (p Proof, err error) {
	r, err := d.net.Router(e.Router)
	if err != nil {
		return p, err
	}
	if p.Before, err = mappingsOf(r); err != nil {
		return p, err
	}
	addresses := r.External()
	behavior, _ := r.Behavior()
	logins := 0
	if lab, _ := d.net.Lab().Router(e.Router); lab.hasPortal() {
		admitted, err := r.LoggedIn()
		if err != nil {
			return p, err
		}
		logins = len(admitted)
	}
	do := func() error { return d.change(r, e, &p) }
	if d.Change != nil {
		err = d.Change(r, e, do)
	} else {
		err = do()
	}
	if err != nil {
		return p, err
	}
	if p.After, err = mappingsOf(r); err != nil {
		return p, err
	}
	p.State = proved(len(p.Before) > 0)
	forgot := "forgot " + mappingCount(len(p.Before))
	switch e.Kind {
	case EventReboot:
		p.Text = fmt.Sprintf("%s rebooted and %s", e.Router, forgot)
		if logins > 0 {
			p.State = Proved
			p.Text += fmt.Sprintf("; %d logins at its portal are over", logins)
		}
		if e.NewAddress {
			now := r.External()
			p.State = proved(!slices.Equal(addresses, now))
			p.Text += fmt.Sprintf("; its addresses %v → %v", addresses, now)
		}
	case EventFlush:
		p.Text = fmt.Sprintf("%s %s; its counters go on", e.Router, forgot)
	case EventSwap:
		now, _ := r.Behavior()
		p.State = proved(now == e.NAT && (now != behavior || len(p.Before) > 0))
		p.Text = fmt.Sprintf("%s was %v, is %v and %s", e.Router, behavior, now, forgot)
	case EventRebind:
		whose := "all hosts"
		if e.Host != "" {
			whose = e.Host
		}
		p.Text = fmt.Sprintf("%s silently ended %s of %s; the external ports are closed and taken", e.Router, mappingCount(len(p.Before)), whose)
	}
	return p, nil
}

func mappingCount(n int) string {
	if n == 1 {
		return "1 mapping"
	}
	return fmt.Sprintf("%d mappings", n)
}

// change does it. Of a rebinding, what was before is what it ended.
func (d *Director) change(r RunningRouter, e Event, p *Proof) (err error) {
	switch e.Kind {
	case EventReboot:
		return r.Reboot(e.NewAddress)
	case EventFlush:
		return r.FlushTable()
	case EventSwap:
		return r.Swap(e.NAT)
	}
	inside, err := d.insideOf(e)
	if err == nil {
		p.Before, err = r.Rebind(inside...)
	}
	return err
}

// insideOf gives the addresses that the router of a rebinding knows the host by:
// its own, unless another NAT stands between. None: all hosts.
func (d *Director) insideOf(e Event) ([]netip.Addr, error) {
	if e.Host == "" {
		return nil, nil
	}
	host, _ := d.net.Lab().Host(e.Host)
	var all []netip.Addr
	for _, u := range host.Uplinks {
		chain, err := d.net.Lab().Chain(e.Host, u.Name)
		if err != nil {
			return nil, err
		}
		at := slices.IndexFunc(chain, func(r Router) bool { return r.Name == e.Router })
		if at < 0 {
			continue
		}
		for _, between := range slices.Backward(chain[:at]) {
			if between.NAT == nil {
				continue
			}
			inner, err := d.net.Router(between.Name)
			if err != nil {
				return nil, err
			}
			return nil, fmt.Errorf("router %s knows host %s by the addresses %v of router %s, which others behind that may share: rebind it there, or name no host",
				e.Router, e.Host, inner.External(), between.Name)
		}
		all = append(all, d.net.Plan().Addresses(e.Host, u.Name)...)
	}
	return all, nil
}

func (d *Director) move(ctx context.Context, e Event) (p Proof, err error) {
	h, err := d.net.Host(e.Host)
	if err != nil {
		return p, err
	}
	from := h.Active()
	if p.Before, err = addressLines(h); err != nil {
		return p, err
	}
	if err := h.Handover(ctx, Handover{Uplink: e.Uplink, Gap: e.Gap, Overlap: e.Overlap}); err != nil {
		return p, err
	}
	if p.After, err = addressLines(h); err != nil {
		return p, err
	}
	p.State = proved(h.Active() == e.Uplink && from != e.Uplink)
	p.Text = fmt.Sprintf("%s moved from %s to %s: %v → %v", e.Host, from, Handover{Uplink: e.Uplink, Gap: e.Gap, Overlap: e.Overlap}, p.Before, p.After)
	return p, nil
}

func addressLines(h RunningHost) (all []string, err error) {
	addrs, err := h.Addresses()
	for _, a := range addrs {
		all = append(all, a.String())
	}
	return all, err
}

// flap cuts and restores a link again and again.
func (d *Director) flap(ctx context.Context, o *Occurrence) (p Proof, err error) {
	e := o.Event
	l, err := d.net.Link(e.Link)
	if err != nil {
		return p, err
	}
	upBefore, downBefore := l.Lost()
	times, between := e.flaps()
	for range times {
		o.Failures = append(o.Failures, d.net.Now())
		if err := l.Cut(); err != nil {
			return p, err
		}
		waited := Sleep(ctx, d.net, e.Down)
		if err := errors.Join(waited, l.Restore()); err != nil {
			return p, err
		}
		if err := Sleep(ctx, d.net, between); err != nil {
			return p, err
		}
	}
	up, down := l.Lost()
	up, down = up-upBefore, down-downBefore
	p.Packets, p.State = up+down, proved(up+down > 0)
	p.Text = fmt.Sprintf("the flapping link of %s was down %d times for %v and took %d packets up and %d down", e.Link, times, e.Down, up, down)
	if p.Packets == 0 {
		p.Text = fmt.Sprintf("link of %s was down %d times for %v and took no packet: nothing was proved", e.Link, times, e.Down)
	}
	return p, nil
}

func (d *Director) impair(ctx context.Context, e Event) (p Proof, err error) {
	l, err := d.net.Link(e.Link)
	if err != nil {
		return p, err
	}
	var was, now Impairments
	was.Up, was.Down = l.Impairments()
	if err := l.Impair(e.Impairments.Up, e.Impairments.Down); err != nil {
		return p, err
	}
	now.Up, now.Down = l.Impairments()
	p = Proof{
		State: proved(now == e.Impairments && now != was), Before: was.lines(), After: now.lines(),
		Text: fmt.Sprintf("the link of %s: %s → %s", e.Link, strings.Join(was.lines(), ", "), strings.Join(now.lines(), ", ")),
	}
	if e.For == 0 {
		return p, nil
	}
	waited := Sleep(ctx, d.net, e.For)
	p.Text += fmt.Sprintf(", for %v", e.For)
	return p, errors.Join(waited, l.Impair(was.Up, was.Down))
}

func (i Impairments) lines() []string {
	return []string{"up " + flow(impairmentItems(i.Up)), "down " + flow(impairmentItems(i.Down))}
}
