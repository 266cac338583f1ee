//go:build linux

package kernel

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"p2pmodel/nat/certify"
	"p2pmodel/sim"
)

// The probe's inside: several addresses of one namespace, and the router's own.
// They are of no realm that a plan gives out.
var (
	proberGateway = netip.MustParseAddr("192.168.255.1")
	proberInside  = []netip.Addr{netip.MustParseAddr("192.168.255.2"), netip.MustParseAddr("192.168.255.3"), netip.MustParseAddr("192.168.255.4")}
)

// proberIndex numbers the router's interface to the prober, far from those of
// the lab.
const proberIndex = 1 << 16

// proberMTU is more than the router's outer links carry, so that the probe can
// send what is too large for them (RFC 4787 REQ-13).
const proberMTU = 3000

var proberSettings = append([]setting{
	// With hairpin the prober gets packets from its own other address.
	{"/proc/sys/net/ipv4/conf/all/accept_local", "1"},
}, hostSettings...)

// Certify implements sim.RunningRouter. The NAT is compared with its present
// behaviour: the lab's, or that of the last Swap. Traffic of the lab should rest
// meanwhile: the state of the NAT is lost in the end, and until then a firewall
// of the router is off. Other routers can be certified at the same time.
func (r *Router) Certify(ctx context.Context) (certify.Result, error) {
	return r.Measure(ctx, certify.Options{})
}

// Measure implements sim.RunningRouter.
func (r *Router) Measure(ctx context.Context, opt certify.Options) (certify.Result, error) {
	if r.lab.NAT == nil {
		return certify.Result{}, r.errorf("certify", ErrNoNAT)
	}
	r.changing.Lock()
	defer r.changing.Unlock()
	ctx, cancel := r.network.whileOpen(ctx)
	defer cancel()
	began := time.Now()
	result, err := r.certify(ctx, opt)
	if err != nil {
		return certify.Result{}, r.errorf("certify", err)
	}
	r.network.log("router %s: declared %s, measured %s, after %v", r.lab.Name, result.Declared, result.Measured, time.Since(began).Round(time.Millisecond))
	return result, nil
}

func (r *Router) certify(ctx context.Context, opt certify.Options) (result certify.Result, err error) {
	if ctx.Err() != nil {
		return result, context.Cause(ctx)
	}
	// What follows is undone in reverse, whatever happens.
	var undo []func() error
	defer func() {
		for i := len(undo) - 1; i >= 0; i-- {
			err = errors.Join(err, undo[i]())
		}
	}()

	outside, err := r.network.probes.take(ctx)
	if err != nil {
		return result, err
	}
	undo = append(undo, func() error { r.network.probes.give(outside); return nil })

	restore, err := r.uplink.lift()
	if err != nil {
		return result, err
	}
	undo = append(undo, restore)

	// Proof leaves no trace.
	undo = append(undo, r.installNAT)
	if r.lab.Firewall != nil {
		undo = append(undo, r.installFirewall)
		if err := r.removeFirewall(); err != nil {
			return result, err
		}
	}

	front := r.uplink.parent
	undo = append(undo, func() error { return front.do(probeBatch(outside, false)) })
	if err := front.do(probeBatch(outside, true)); err != nil {
		return result, err
	}

	prober, unplug, err := r.plugProber()
	if err != nil {
		return result, err
	}
	undo = append(undo, unplug)

	probe, err := certify.New(certify.Config{
		Declared: r.config().Behavior,
		Outside:  outside,
		Inside:   proberInside,
		External: r.External(),
		Options:  opt,
		Oversize: proberMTU - 500,
		Rand:     rand.New(rand.NewPCG(seedOf(r.network.opt.Seed, sim.LinkID{Node: r.lab.Name}), uint64(outside[0].As4()[3]))),
	})
	if err != nil {
		return result, err
	}
	d := &probeDriver{
		probe: probe, inside: prober.ns, outside: front.ns, reset: r.installNAT,
		sockets: make(map[int]proberSocket),
		inbox:   make(chan func(), 256),
		stop:    make(chan struct{}),
	}
	undo = append(undo, d.close)
	return d.run(ctx)
}

// probeBatch adds the probe's outside addresses to a node's loopback, or takes
// them.
func probeBatch(outside [2]netip.Addr, present bool) *batch {
	var b batch
	for _, a := range outside {
		b.address(&iface{index: 1, name: "lo"}, a, present)
	}
	return &b
}

// plugProber puts a host behind the router for as long as a certification
// takes. Its namespace is kept for the next one.
func (r *Router) plugProber() (prober *node, unplug func() error, err error) {
	if r.prober == nil {
		if r.prober, err = newNode("prober of "+r.lab.Name, always(proberSettings)); err != nil {
			return nil, nil, err
		}
	}
	prober = r.prober
	far := &iface{index: 2, name: sim.DefaultUplink, mac: macOf(proberIndex, 1)}
	near := &iface{index: proberIndex, name: "prober", mac: macOf(proberIndex, 2)}
	unplug = func() error {
		var b batch
		b.remove(near)
		return r.node.do(&b)
	}
	var above, below batch
	err = prober.ns.use(func(fd int) error {
		above.veth(near, far, fd)
		above.mtu(near, proberMTU)
		above.address(near, proberGateway, true)
		for _, a := range proberInside {
			above.neighbor(near, a, far.mac, true)
			above.route(hop{to: single(a), by: near, source: proberGateway}, true)
		}
		return r.node.do(&above)
	})
	if err == nil {
		below.mtu(far, proberMTU)
		below.state(far, true)
		for _, a := range proberInside {
			below.address(far, a, true)
		}
		below.neighbor(far, proberGateway, near.mac, true)
		below.route(hop{to: anywhere(proberGateway), by: far, gateway: proberGateway, source: proberInside[0]}, true)
		err = prober.do(&below)
	}
	if err == nil {
		err = r.node.awaitCarrier(near)
	}
	if err == nil {
		err = prober.awaitCarrier(far)
	}
	if err != nil {
		return nil, nil, errors.Join(err, unplug())
	}
	return prober, unplug, nil
}

// probeAddresses hands out the pairs of sim.ProbePrefix, so that routers behind
// one node can be certified at once.
type probeAddresses struct {
	free chan [2]netip.Addr
}

func newProbeAddresses() *probeAddresses {
	const pairs = 126
	p := &probeAddresses{free: make(chan [2]netip.Addr, pairs)}
	a := sim.ProbePrefix.Addr().Next()
	for range pairs {
		b := a.Next()
		p.free <- [2]netip.Addr{a, b}
		a = b.Next()
	}
	return p
}

// take waits until a pair is free.
func (p *probeAddresses) take(ctx context.Context) (pair [2]netip.Addr, err error) {
	select {
	case pair = <-p.free:
		return pair, nil
	case <-ctx.Done():
		return pair, fmt.Errorf("wait for addresses to probe from: %w", ctx.Err())
	}
}

func (p *probeAddresses) give(pair [2]netip.Addr) { p.free <- pair }
