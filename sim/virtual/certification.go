package virtual

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"p2pmodel/nat/certify"
	"p2pmodel/sim"
)

// The probe's inside: several hosts behind the router, beside those of the lab.
var proberInside = []netip.Addr{netip.MustParseAddr("192.168.255.2"), netip.MustParseAddr("192.168.255.3"), netip.MustParseAddr("192.168.255.4")}

// proberMTU is more than the router's outer links carry, so that the probe can
// send what is too large for them (RFC 4787 REQ-13).
const proberMTU = 3000

// Certify implements sim.RunningRouter. The probe's packets take the way of all
// others through the router. Traffic of the lab should rest meanwhile: the state of
// the NAT is lost in the end, and until then a firewall of the router is off. Other
// routers can be certified at the same time.
func (r *Router) Certify(ctx context.Context) (certify.Result, error) {
	return r.Measure(ctx, certify.Options{})
}

// Measure implements sim.RunningRouter.
func (r *Router) Measure(ctx context.Context, opt certify.Options) (certify.Result, error) {
	if r.table == nil {
		return certify.Result{}, r.errorf("certify", ErrNoNAT)
	}
	result, err := r.certify(ctx, opt)
	if err != nil {
		return certify.Result{}, r.errorf("certify", err)
	}
	r.network.log("router %s: declared %s, measured %s, after %v", r.node.name, result.Declared, result.Measured, result.Duration.Round(time.Millisecond))
	return result, nil
}

func (r *Router) certify(ctx context.Context, opt certify.Options) (result certify.Result, err error) {
	n := r.network
	outside, err := n.probers.take(ctx, n)
	if err != nil {
		return result, err
	}
	defer n.probers.give(outside)
	defer r.cable.lift()()
	if r.wall != nil {
		r.wall.off = true
	}
	prober, err := newProber(r, outside, opt)
	if err != nil {
		return result, err
	}
	unplug := prober.plug()
	prober.start()
	// Nothing but the probe's own end is waited for: its deadlines are finite.
	waited := n.Wait(ctx, prober.over, sim.Forever)
	unplug()
	// Proof leaves no trace.
	if err := r.forget(); err != nil {
		return result, err
	}
	return prober.result, waited
}

// forget gives the router its NAT and its firewall afresh.
func (r *Router) forget() error {
	if r.wall != nil {
		r.wall.off = false
		r.wall.reset()
	}
	return r.installNAT(r.behavior)
}

// prober drives a probe: its sockets are addresses in front of the router and
// behind it, and it is called as time passes.
type prober struct {
	router   *Router
	probe    *certify.Probe
	outside  [2]netip.Addr
	front    *node
	below    func(*packet) // sends from the probe's inside
	sockets  map[proberAddress]int
	locals   map[int]proberAddress
	alarm    instant // the next that is set; never: none
	plugged  bool
	draining bool
	over     chan struct{}
	result   certify.Result
}

// proberAddress is where a socket of the probe is found.
type proberAddress struct {
	inside   bool
	protocol certify.Protocol
	local    netip.AddrPort
}

func newProber(r *Router, outside [2]netip.Addr, opt certify.Options) (*prober, error) {
	probe, err := certify.New(certify.Config{
		Declared: r.behavior,
		Outside:  outside,
		Inside:   proberInside,
		External: r.External(),
		Options:  opt,
		Oversize: proberMTU - 500,
		Rand:     rand.New(rand.NewPCG(r.network.opt.Seed^keyOf("probe of "+r.node.name), uint64(outside[0].As4()[3]))),
	})
	if err != nil {
		return nil, err
	}
	return &prober{
		router: r, probe: probe, outside: outside, front: r.cable.up.to,
		sockets: make(map[proberAddress]int), locals: make(map[int]proberAddress),
		alarm: never, over: make(chan struct{}),
	}, nil
}

// plug gives the probe its addresses: those in front of the router are the front
// node's, those behind it stand on a cable of their own. unplug takes them away.
func (p *prober) plug() (unplug func()) {
	n := p.router.network
	var leave []func()
	for _, a := range p.outside {
		leave = append(leave, n.invite(p.front, a, func(k *packet) { p.arrived(k, false) }))
	}
	below, gone := n.plugIn(p.router, proberInside, proberMTU, func(k *packet) { p.arrived(k, true) })
	p.below, p.plugged = below, true
	return func() {
		p.plugged = false
		gone()
		for _, f := range leave {
			f()
		}
	}
}

// start begins the measurement.
func (p *prober) start() {
	p.probe.Start(p.router.network.time)
	p.drain()
}

// drain does what the probe wants done, until it wants nothing, and has it called
// in time.
func (p *prober) drain() {
	if p.draining || !p.plugged {
		return
	}
	p.draining = true
	n := p.router.network
	for busy := true; busy; {
		busy = false
		if p.probe.PollReset() {
			busy = true
			p.probe.HandleReset(n.time, p.router.installNAT(p.router.behavior))
		}
		for o, ok := p.probe.PollOpen(); ok; o, ok = p.probe.PollOpen() {
			busy = true
			p.open(o)
		}
		for s, ok := p.probe.PollSend(); ok; s, ok = p.probe.PollSend() {
			busy = true
			p.send(s)
		}
		p.probe.HandleSent(n.time)
	}
	p.draining = false
	if result, done := p.probe.Result(); done {
		p.result = result
		p.plugged = false
		close(p.over)
		n.stirred = true
		return
	}
	if at := p.probe.PollTimeout(); !at.IsZero() {
		if due := max(instantOf(at), n.now); due < p.alarm {
			p.alarm = due
			n.after(time.Duration(due-n.now), p.ring)
		}
	}
}

// ring tells the probe the time.
func (p *prober) ring() {
	if !p.plugged {
		return
	}
	p.alarm = never
	p.probe.HandleTimeout(p.router.network.time)
	p.drain()
}

func (p *prober) open(o certify.Open) {
	n := p.router.network
	at := proberAddress{o.Inside, o.Protocol, o.Local}
	if o.Close {
		delete(p.sockets, p.locals[o.Socket])
		delete(p.locals, o.Socket)
		return
	}
	if _, taken := p.sockets[at]; taken {
		p.probe.HandleOpened(n.time, o.Socket, o.Local, fmt.Errorf("%v is taken", o.Local))
		return
	}
	p.sockets[at], p.locals[o.Socket] = o.Socket, at
	p.probe.HandleOpened(n.time, o.Socket, o.Local, nil)
}

// send puts on the wire what a socket sends.
func (p *prober) send(s certify.Send) {
	from, ok := p.locals[s.Socket]
	if !ok {
		return // it was closed
	}
	n := p.router.network
	k := n.take()
	k.ttl, k.src, k.dst = defaultTTL, from.local, s.To
	k.fill(s.Payload)
	switch from.protocol {
	case certify.UDP:
		k.protocol, k.whole = protocolUDP, s.Form == certify.DontFragment
	case certify.TCP:
		// A NAT looks at addresses only: one segment stands for a connection's.
		k.protocol, k.flags, k.whole = protocolTCP, tcpACK, true
	case certify.ICMP:
		if k.protocol, k.kind = protocolICMP, icmpEchoReply; from.inside {
			k.kind = icmpEchoRequest
		}
	}
	if s.Form == certify.Error {
		about := k
		about.src, about.dst = s.To, from.local
		about.setSize()
		k = n.take()
		k.protocol, k.ttl, k.kind, k.code, k.quoted = protocolICMP, defaultTTL, s.Error.Type, s.Error.Code, about
		k.src, k.dst = netip.AddrPortFrom(s.Via, 0), netip.AddrPortFrom(s.To.Addr(), 0)
	}
	k.setSize()
	if from.inside {
		p.below(k)
		return
	}
	out := n.way(p.front, k.dst.Addr())
	if out == nil {
		n.put(k)
		return
	}
	p.front.sent++
	k.id = p.front.sent
	out.send(n, k)
}

// arrived gives the probe a packet that came to one of its addresses.
func (p *prober) arrived(k *packet, inside bool) {
	n := p.router.network
	defer n.put(k)
	if !p.plugged {
		return
	}
	if k.isError() {
		if socket, ok := p.sockets[proberAddress{inside, certify.UDP, k.quoted.src}]; ok && k.quoted.protocol == protocolUDP {
			p.probe.HandleICMP(n.time, socket, certify.ICMPError{Type: k.kind, Code: k.code})
			p.drain()
		}
		return
	}
	at := proberAddress{inside: inside, local: k.dst}
	switch k.protocol {
	case protocolTCP:
		at.protocol = certify.TCP
	case protocolICMP:
		at.protocol = certify.ICMP
	}
	if socket, ok := p.sockets[at]; ok {
		p.probe.HandleDatagram(n.time, socket, k.src, slices.Clone(k.payload))
		p.drain()
	}
}

// probeAddresses hands out pairs of sim.ProbePrefix, so that routers behind one
// node can be certified at once.
type probeAddresses struct {
	free  [][2]netip.Addr
	made  bool
	given chan struct{} // closed and replaced when a pair is given back
}

// probePairs is how many pairs the prefix has.
const probePairs = 126

// take waits until a pair is free.
func (p *probeAddresses) take(ctx context.Context, n *Network) (pair [2]netip.Addr, err error) {
	if !p.made {
		p.made, p.given = true, make(chan struct{})
		a := sim.ProbePrefix.Addr().Next()
		for range probePairs {
			b := a.Next()
			p.free = append(p.free, [2]netip.Addr{a, b})
			a = b.Next()
		}
	}
	for len(p.free) == 0 {
		if err := n.Wait(ctx, p.given, sim.Forever); err != nil {
			return pair, fmt.Errorf("wait for addresses to probe from: %w", err)
		}
	}
	pair = p.free[0]
	p.free = p.free[1:]
	return pair, nil
}

func (p *probeAddresses) give(pair [2]netip.Addr) {
	p.free = append(p.free, pair)
	close(p.given)
	p.given = make(chan struct{})
}
