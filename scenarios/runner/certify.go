package runner

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"p2pmodel/nat"
	"p2pmodel/nat/certify"
	"p2pmodel/scenarios"
	"p2pmodel/sim"
)

// certification is what was measured of a router with one behaviour.
type certification struct {
	declared nat.Behavior
	result   certify.Result
	seal     string // fingerprint of the rules that were measured
}

// certify measures every NAT of the lab, all routers at once, and compares with
// what was declared; also the NATs that phases will swap in. Then it seals all
// routers.
//
// A NAT is not measured again after the run: that would double the longest part
// of it, and find nothing that the seal does not. The seal is the fingerprint of
// all rules that forwarded packets meet, so that nobody can change what was
// certified without breaking it.
func (s *stage) certify(ctx context.Context, o *outcome) error {
	routers := s.v.lab.Routers
	results := make([][]certification, len(routers))
	errs := make([]error, len(routers))
	var all []<-chan struct{}
	for i := range routers {
		all = append(all, s.net.Go(func() { results[i], errs[i] = s.certifyRouter(ctx, routers[i]) }))
	}
	if err := sim.WaitAll(s.net, all...); err != nil {
		return err
	}
	var wrong []string
	for i, router := range routers {
		if errs[i] != nil {
			return fmt.Errorf("router %s could not be certified: %w", router.Name, errs[i])
		}
		for _, c := range results[i] {
			// What the scenario declares counts, not what the fabric believes to
			// have built.
			declared, measured := declaration(c.declared, c.result.Measured, s.v.measure), c.result.Measured
			o.nats = append(o.nats, scenarios.NATResult{
				Router: router.Name, Declared: declared, Measured: measured, Findings: c.result.Findings,
			})
			s.log.add(s.net.Now(), "lab", fmt.Sprintf("%s certified in %v: %s", router.Name, c.result.Duration.Round(time.Millisecond), measured))
			if declared != measured {
				wrong = append(wrong, fmt.Sprintf("router %s is not what it claims: declared %s, measured %s", router.Name, declared, measured))
			}
		}
	}
	if len(wrong) > 0 {
		return errors.New(strings.Join(wrong, "; "))
	}
	for i, router := range routers {
		if err := s.seal(router.Name, results[i]); err != nil {
			return err
		}
	}
	return s.sealHosts()
}

// certifyRouter measures a router: the NAT that it has, then those that phases
// will give it, and leaves it with its own.
func (s *stage) certifyRouter(ctx context.Context, router sim.Router) ([]certification, error) {
	if router.NAT == nil {
		return nil, nil
	}
	running, err := s.net.Router(router.Name)
	if err != nil {
		return nil, err
	}
	behaviors := s.v.behaviors(router)
	var all []certification
	for i, b := range behaviors {
		if i > 0 {
			if err := running.Swap(b); err != nil {
				return nil, err
			}
		}
		c, err := s.certifyNow(ctx, running)
		if err != nil {
			return nil, err
		}
		c.declared = b
		all = append(all, c)
	}
	if len(behaviors) > 1 {
		err = running.Swap(*router.NAT)
	}
	return all, err
}

// certifyNow measures a router as it is.
func (s *stage) certifyNow(ctx context.Context, r sim.RunningRouter) (c certification, err error) {
	if c.seal, err = r.Fingerprint(); err != nil {
		return c, err
	}
	if c.result, err = r.Measure(ctx, s.v.measure); err == nil {
		err = c.result.Err
	}
	if err != nil {
		return c, err
	}
	after, err := r.Fingerprint()
	if err == nil && after != c.seal {
		err = errors.New("somebody changed its rules meanwhile")
	}
	return c, err
}

// declaration is what is declared of a NAT, with the axes that were measured.
// What must be measured of every NAT is among them in any case, and the times
// that it names, if they are not longer than the certification waits: one that
// leaves them out is none.
func declaration(b nat.Behavior, measured string, opt certify.Options) string {
	axes := append([]nat.Axis{nat.AxisMapping, nat.AxisFiltering, nat.AxisPorts}, opt.Times(b)...)
	for _, part := range strings.Split(measured, ",") {
		key, _, _ := strings.Cut(part, "=")
		axes = append(axes, nat.Axis(key))
	}
	return b.Text(axes...)
}

// behaviors are all that a router has in a run: its own, and those that phases
// give to it.
func (v *variant) behaviors(router sim.Router) []nat.Behavior {
	all := []nat.Behavior{*router.NAT}
	add := func(e sim.Event) {
		if e.Kind == sim.EventSwap && e.Router == router.Name && !slices.Contains(all, e.NAT) {
			all = append(all, e.NAT)
		}
	}
	for _, p := range v.phases {
		for _, a := range p.Actions {
			add(a.Event)
		}
	}
	for _, entry := range v.events {
		add(entry.Event)
	}
	return all
}

// seal is what a router's rules must look like.
type seal struct {
	now string // fingerprint
	// addresses are the external ones that the router has or had.
	addresses []netip.Addr
	// certified are the fingerprints of its behaviours, for as long as it has the
	// addresses with which they were certified.
	certified map[nat.Behavior]string
}

// seal notes how a router's rules look that has just been certified.
func (s *stage) seal(router string, certified []certification) error {
	running, err := s.net.Router(router)
	if err != nil {
		return err
	}
	l := &seal{certified: map[nat.Behavior]string{}, addresses: running.External()}
	for _, c := range certified {
		l.certified[c.declared] = c.seal
	}
	if len(certified) > 0 {
		l.now = certified[0].seal
	} else if l.now, err = running.Fingerprint(); err != nil {
		return err
	}
	s.seals[router] = l
	return s.sealed(running)
}

// sealed makes sure that a router's rules are those that it must have.
func (s *stage) sealed(r sim.RunningRouter) error {
	now, err := r.Fingerprint()
	if err != nil {
		return err
	}
	if now != s.seals[r.Name()].now {
		return fmt.Errorf("somebody changed the rules of router %s after it was certified, so that nothing is known of its NAT; run the scenario again, and let nothing else touch its namespaces", r.Name())
	}
	return nil
}

// allSealed is sealed for all routers, and the like for hosts with firewalls.
func (s *stage) allSealed() error {
	for _, router := range s.v.lab.Routers {
		r, err := s.net.Router(router.Name)
		if err != nil {
			return err
		}
		if err := s.sealed(r); err != nil {
			return err
		}
	}
	return s.hostsSealed()
}
