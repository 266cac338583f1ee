package sim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Director does events to a lab, and proves each. It remembers the faults that
// are in force, so that it can tell what they took when they end. It is safe for
// concurrent use.
type Director struct {
	net Network
	// Change, where it is not nil, is called instead of each change of a router's
	// rules, and has to do it: whoever watches over the rules can tell their
	// change from another's. Set it before the first event.
	Change func(r RunningRouter, e Event, change func() error) error

	mu     sync.Mutex
	faults []*fault
}

// NewDirector makes one for a lab that stands.
func NewDirector(net Network) *Director { return &Director{net: net} }

// Apply does one event and tells what was seen of it. Of a fault that it begins,
// and that lasts, nothing has been seen yet; a Director can tell later.
func Apply(ctx context.Context, net Network, e Event) (Proof, error) {
	o, err := NewDirector(net).Apply(ctx, e)
	if err != nil {
		return Proof{}, err
	}
	return o.Proof(), nil
}

// Apply validates an event, does it, and returns when it is done: one that ends
// by itself takes its time. When ctx ends meanwhile, what it began is ended, and
// the error is ctx's. Errors are those of the laboratory; an event that had no
// effect is none, and its proof says so.
func (d *Director) Apply(ctx context.Context, e Event) (*Occurrence, error) {
	if err := e.Validate(d.net.Lab()); err != nil {
		return nil, err
	}
	o := &Occurrence{Event: e, Begin: d.net.Now()}
	proof, err := d.do(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", e, err)
	}
	o.End = d.net.Now()
	if proof.State != "" {
		o.prove(proof)
	}
	return o, nil
}

// do does an event. The proof is the zero one where the fault has it that was
// begun.
func (d *Director) do(ctx context.Context, o *Occurrence) (Proof, error) {
	switch e := o.Event; e.Kind {
	case EventReboot, EventFlush, EventSwap, EventRebind:
		return d.router(e)
	case EventMove:
		return d.move(ctx, e)
	case EventLogin:
		return d.login(ctx, e)
	case EventInject:
		return d.inject(ctx, e)
	case EventFlap:
		return d.flap(ctx, o)
	case EventImpair:
		return d.impair(ctx, e)
	case EventCut, EventBlackhole, EventRestrict, EventPartition:
		return d.fault(ctx, o)
	case EventRestore:
		return d.end(e, faultsOf(e)...)
	case EventHeal, EventUnrestrict:
		return d.end(e, faultsOf(e)...)
	case EventKill, EventPause, EventResume, EventRestart:
		return d.programs(ctx, e)
	}
	if err := Sleep(ctx, d.net, o.Event.For); err != nil { // EventWait
		return Proof{}, err
	}
	return Proof{State: Proved, Text: fmt.Sprintf("waited for %v", o.Event.For)}, nil
}

// Finish proves the faults that are still in force; they stay.
func (d *Director) Finish() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	for _, f := range d.faults {
		errs = append(errs, f.prove())
	}
	d.faults = nil
	return errors.Join(errs...)
}

// fault is something in force that takes packets.
type fault struct {
	name  string // by which the event that ends it finds it
	what  string // "the cut of the link of a"
	taken func() (uint64, error)
	was   uint64 // what others had taken when it began
	by    *Occurrence
}

// prove tells what the fault took.
func (f *fault) prove() error {
	now, err := f.taken()
	if err != nil {
		return err
	}
	n := now - f.was
	p := Proof{State: proved(n > 0), Text: fmt.Sprintf("%s took %d packets", f.what, n), Packets: n}
	if n == 0 {
		p.Text = fmt.Sprintf("%s met no packet: nothing was proved", f.what)
	}
	f.by.prove(p)
	return nil
}

// faultsOf are the names of the faults that an event begins, or ends.
func faultsOf(e Event) []string {
	switch link := e.Link.String(); e.Kind {
	case EventCut:
		return []string{"cut " + link}
	case EventBlackhole:
		return []string{"blackhole " + link + " " + string(e.Direction)}
	case EventRestore:
		return []string{"cut " + link, "blackhole " + link + " " + string(Up), "blackhole " + link + " " + string(Down)}
	case EventRestrict, EventUnrestrict:
		return []string{"restrict " + e.Host}
	}
	return []string{"partition"}
}

// fault begins a fault, and ends it where it has a time.
func (d *Director) fault(ctx context.Context, o *Occurrence) (Proof, error) {
	e := o.Event
	f := &fault{name: faultsOf(e)[0], by: o}
	var begin func() error
	switch e.Kind {
	case EventCut, EventBlackhole:
		l, err := d.net.Link(e.Link)
		if err != nil {
			return Proof{}, err
		}
		if e.Kind == EventCut {
			f.what, f.taken, begin = "the cut of the link of "+e.Link.String(), lost(l, Up, Down), l.Cut
			break
		}
		f.what = fmt.Sprintf("the black hole in the link of %s, %s,", e.Link, e.Direction)
		f.taken, begin = lost(l, e.Direction), func() error { return l.Blackhole(e.Direction) }
	case EventRestrict:
		h, err := d.net.Host(e.Host)
		if err != nil {
			return Proof{}, err
		}
		f.what, f.taken, begin = "the restriction of "+e.Host, h.Restricted, func() error { return d.restrict(h, e) }
	case EventPartition:
		f.what, f.taken, begin = "the partition", d.net.Partitioned, func() error { return d.net.Partition(e.Groups) }
	}
	if err := d.lift(f.name); err != nil { // it was there already
		return Proof{}, err
	}
	var err error
	if f.was, err = f.taken(); err != nil {
		return Proof{}, err
	}
	if err := begin(); err != nil {
		return Proof{}, err
	}
	o.prove(Proof{State: Pending, Text: f.what + " is in force"})
	d.mu.Lock()
	d.faults = append(d.faults, f)
	d.mu.Unlock()
	ending, ends := e.Ending()
	if !ends {
		return Proof{}, nil
	}
	waited := Sleep(ctx, d.net, e.For)
	if d.inForce(f) { // and not ended by somebody else
		if _, err := d.end(ending, f.name); err != nil {
			return Proof{}, err
		}
	}
	return Proof{}, waited
}

func (d *Director) restrict(h RunningHost, e Event) error {
	to, err := addressesOf(d.net, e.To)
	if err != nil {
		return err
	}
	return h.Restrict(to)
}

func (d *Director) inForce(f *fault) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Contains(d.faults, f)
}

// lift proves the faults of a name that are about to end.
func (d *Director) lift(names ...string) error {
	_, err := d.lifted(names...)
	return err
}

func (d *Director) lifted(names ...string) (ended []*fault, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.faults = slices.DeleteFunc(d.faults, func(f *fault) bool {
		if !slices.Contains(names, f.name) {
			return false
		}
		err = errors.Join(err, f.prove())
		ended = append(ended, f)
		return true
	})
	return ended, err
}

// end does an event that ends faults.
func (d *Director) end(e Event, names ...string) (Proof, error) {
	ended, err := d.lifted(names...)
	if err != nil {
		return Proof{}, err
	}
	what := "nothing was in force on the link of " + e.Link.String()
	switch e.Kind {
	case EventRestore:
		l, err := d.net.Link(e.Link)
		if err == nil {
			err = l.Restore()
		}
		if err != nil {
			return Proof{}, err
		}
	case EventUnrestrict:
		what = e.Host + " was not restricted"
		h, err := d.net.Host(e.Host)
		if err == nil {
			err = h.Unrestrict()
		}
		if err != nil {
			return Proof{}, err
		}
	case EventHeal:
		what = "the network was not parted"
		if err := d.net.Heal(); err != nil {
			return Proof{}, err
		}
	}
	if len(ended) == 0 {
		return Proof{State: Nothing, Text: what}, nil
	}
	p := Proof{State: Proved}
	var texts []string
	for _, f := range ended {
		of := f.by.Proof()
		texts = append(texts, f.what+" is over: "+of.Text)
		p.Packets += of.Packets
	}
	p.Text = strings.Join(texts, "; ")
	return p, nil
}
