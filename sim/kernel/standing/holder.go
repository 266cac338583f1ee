//go:build linux

package standing

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"p2pmodel/sim"
	"p2pmodel/sim/kernel"
)

// Spec says what is to stand.
type Spec struct {
	Name string
	Lab  *sim.Lab
	// Events are done to it, counted from when it stands; OnEvent, which may be nil,
	// is told of each when it was done.
	Events  sim.Timeline
	OnEvent func(Happened)
	// File is what the lab was read from, for people.
	File string
	Seed uint64
	// Links is what carries the lab's links; "": the wire.
	Links kernel.Backend
	// Uncertified leaves out the measurement of the NATs.
	Uncertified bool
	// Directory is where the lab can be found; see the function of that name.
	Directory string
}

// Certified is a router's NAT as it was measured before the lab was given out.
type Certified struct {
	Router   string `json:"router"`
	Declared string `json:"declared"`
	Measured string `json:"measured"`
}

// Standing is what can be said of a lab when it stands.
type Standing struct {
	Description
	// Built is how long it took to build, and Certifying to measure its NATs.
	Built      time.Duration `json:"built"`
	Certifying time.Duration `json:"certifying"`
	// NATs are empty where none was certified.
	NATs []Certified `json:"nats"`
}

// ErrTakenDown is the cause of the end of a lab that a client has taken down.
var ErrTakenDown = errors.New("the lab was taken down by `natlab down`")

// Hold builds a lab, certifies its NATs, calls ready once it stands and can be
// found, and answers calls until ctx ends or a client takes it down; then it takes
// everything down, and waits until nothing is left. An error of ready ends it, too.
// The process must be one that may build labs (kernel.Enter).
func Hold(ctx context.Context, spec Spec, ready func(Standing) error) (err error) {
	name, err := claimName(spec.Directory, spec.Name)
	if errors.Is(err, errTaken) {
		return taken(ctx, spec)
	}
	if err != nil {
		return err
	}
	defer name.release()
	began := time.Now()
	built, err := kernel.Fabric{Links: spec.Links}.Build(ctx, spec.Lab, sim.Options{Seed: spec.Seed, Unrecorded: true})
	if err != nil {
		return err
	}
	network := built.(*kernel.Network)
	s := newServer(spec, network)
	// Whoever has asked for the end is told when nothing is left.
	defer func() {
		err = errors.Join(err, network.Close())
		name.release()
		s.end(err)
	}()
	status := Standing{Built: time.Since(began), NATs: []Certified{}}
	if !spec.Uncertified {
		began = time.Now()
		if status.NATs, err = certifyAll(ctx, network); err != nil {
			return err
		}
		status.Certifying = time.Since(began)
	}
	listener, err := listen(name.socket)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	s.begin(ctx, stop, listener)
	if status.Description, err = s.describe(); err != nil {
		return err
	}
	if err := ready(status); err != nil {
		return err
	}
	s.calls.Go(func() { s.play(ctx, spec.OnEvent) })
	<-ctx.Done()
	if errors.Is(context.Cause(ctx), ErrTakenDown) {
		return nil
	}
	return ctx.Err()
}

// taken says who has the name.
func taken(ctx context.Context, spec Spec) error {
	way := fmt.Sprintf("take it down with `natlab down %s`, or give this one another name with --name", spec.Name)
	d, err := at(spec.Directory, spec.Name).Describe(ctx)
	if err != nil {
		return fmt.Errorf("a lab %q is being built or taken down by another process: wait, or give this one another name with --name", spec.Name)
	}
	return fmt.Errorf("a lab %q stands already (process %d, from %s): %s", spec.Name, d.PID, d.File, way)
}

// listen makes the socket. Its folder is entered by this user only.
func listen(path string) (*net.UnixListener, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("make the socket by which the lab is told what to do: %w", err)
	}
	l.SetUnlinkOnClose(false) // the claim removes it, in order
	if err := os.Chmod(path, 0o600); err != nil {
		_ = l.Close()
		return nil, err
	}
	return l, nil
}

// certifyAll measures all NATs, all at once. A NAT that is not what it was
// declared to be is an error that says on which axis.
func certifyAll(ctx context.Context, n *kernel.Network) ([]Certified, error) {
	var wg sync.WaitGroup
	routers := n.Lab().Routers
	errs := make([]error, len(routers))
	measured := make([]*Certified, len(routers))
	for i, r := range routers {
		if r.NAT == nil {
			continue
		}
		wg.Go(func() {
			running, err := n.Router(r.Name)
			if err != nil {
				errs[i] = err
				return
			}
			result, err := running.Certify(ctx)
			if err == nil {
				err = result.Err
			}
			switch {
			case err != nil:
				errs[i] = fmt.Errorf("router %s: measure its NAT: %w", r.Name, err)
			case !result.OK():
				errs[i] = fmt.Errorf("router %s: its NAT is not what was declared: declared %s, measured %s (a busy machine may be why: try again, or build it with --no-certify)",
					r.Name, result.Declared, result.Measured)
			}
			measured[i] = &Certified{Router: r.Name, Declared: result.Declared, Measured: result.Measured}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	all := []Certified{}
	for _, m := range measured {
		if m != nil {
			all = append(all, *m)
		}
	}
	return all, nil
}

// absolute is a path as other folders see it.
func absolute(file string) string {
	if path, err := filepath.Abs(file); err == nil {
		return path
	}
	return file
}
