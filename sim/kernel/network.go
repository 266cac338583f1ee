//go:build linux

package kernel

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"p2pmodel/sim"
	"p2pmodel/sim/kernel/capture"
	"p2pmodel/sim/kernel/droplog"
)

// Network is a lab that stands. It implements sim.Network, and what it gives
// out implements the other interfaces of package sim. All methods are safe for
// concurrent use.
type Network struct {
	sim.RealTime // the time of day, with the monotonic clock

	lab  *sim.Lab
	plan *sim.Plan
	opt  sim.Options
	// backend carries the declared links.
	backend Backend

	// Filled by Build and not changed afterwards.
	nodes   map[string]*node
	hosts   map[string]*Host
	routers map[string]*Router
	cables  map[sim.LinkID]*cable
	order   []*cable // parents before children

	probes   *probeAddresses
	wires    carrier // nil without declared links
	starter  starter
	recorder *capture.Recorder
	dropLog  *droplog.Log // nil: the kernel cannot tell
	release  func()       // of what the lab takes of the machine's limits

	partition partition
	scans     scans
	taps      taps

	logging sync.Mutex
	closing sync.Once
	closed  chan struct{} // closed when Close begins
	failure error         // of Close
}

var _ sim.Network = (*Network)(nil)

func newNetwork(lab *sim.Lab, plan *sim.Plan, opt sim.Options) *Network {
	return &Network{
		lab: lab, plan: plan, opt: opt,
		nodes:   make(map[string]*node),
		hosts:   make(map[string]*Host),
		routers: make(map[string]*Router),
		cables:  make(map[sim.LinkID]*cable),
		probes:  newProbeAddresses(),
		closed:  make(chan struct{}),
	}
}

// Lab implements sim.Network.
func (n *Network) Lab() *sim.Lab { return n.lab }

// Plan implements sim.Network. It is the addressing that the lab began with:
// Router.External tells the present one.
func (n *Network) Plan() *sim.Plan { return n.plan }

// Host implements sim.Network.
func (n *Network) Host(name string) (sim.RunningHost, error) {
	if h := n.hosts[name]; h != nil {
		return h, nil
	}
	return nil, unknown("host", name, n.hosts)
}

// Router implements sim.Network.
func (n *Network) Router(name string) (sim.RunningRouter, error) {
	if r := n.routers[name]; r != nil {
		return r, nil
	}
	return nil, unknown("router", name, n.routers)
}

// Link implements sim.Network.
func (n *Network) Link(id sim.LinkID) (sim.RunningLink, error) {
	if id.Uplink == "" {
		id.Uplink = sim.DefaultUplink
	}
	if c := n.cables[id]; c != nil {
		return c, nil
	}
	var have []string
	for other := range n.cables {
		if other.Node == id.Node {
			have = append(have, other.Uplink)
		}
	}
	if len(have) == 0 {
		return nil, fmt.Errorf("link of %s: the lab has no node of that name", id.Node)
	}
	slices.Sort(have)
	return nil, fmt.Errorf("link of %s: no uplink %q; it has %s", id.Node, id.Uplink, strings.Join(have, ", "))
}

func unknown[T any](kind, name string, have map[string]T) error {
	names := make([]string, 0, len(have))
	for n := range have {
		names = append(names, n)
	}
	slices.Sort(names)
	return fmt.Errorf("the lab has no %s %q; it has %s", kind, name, strings.Join(names, ", "))
}

// NamespacePath is where another process finds the network namespace of a node
// as long as the lab stands: `nsenter --net=PATH ip address`. The Internet is
// called sim.Internet.
func (n *Network) NamespacePath(name string) (string, error) {
	node := n.nodes[name]
	if node == nil {
		return "", unknown("node", name, n.nodes)
	}
	var path string
	err := node.ns.use(func(fd int) error {
		path = fmt.Sprintf("/proc/%d/fd/%d", pid, fd)
		return nil
	})
	return path, err
}

func (n *Network) log(format string, args ...any) {
	if n.opt.Log == nil {
		return
	}
	n.logging.Lock()
	defer n.logging.Unlock()
	n.opt.Log(n.Now(), fmt.Sprintf(format, args...))
}

// whileOpen gives a context that also ends when Close begins.
func (n *Network) whileOpen(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	finished := make(chan struct{})
	go func() {
		select {
		case <-n.closed:
			cancel(errClosed)
		case <-finished:
		}
	}()
	return ctx, sync.OnceFunc(func() {
		cancel(nil)
		close(finished)
	})
}

// Close implements sim.Network. It ends what runs on the hosts, then captures
// and wires, then gives up the namespaces and waits until the kernel has taken
// them down. The error says what could not be ended.
func (n *Network) Close() error {
	n.closing.Do(func() {
		close(n.closed)
		errs := make([]error, len(n.lab.Hosts))
		_ = each(context.Background(), len(n.lab.Hosts), func(i int) error {
			if h := n.hosts[n.lab.Hosts[i].Name]; h != nil {
				errs[i] = h.stop()
			}
			return nil
		})
		n.starter.stop()
		for _, r := range n.routers {
			// A certification ends now, and removes what it has made.
			r.changing.Lock()
			defer r.changing.Unlock()
		}
		errs = append(errs, n.stopPortals(), n.taps.close(), n.stopCapture())
		for _, h := range n.hosts {
			h.closeSockets()
		}
		// The kernel lets go of packet sockets, and of netlink sockets with their
		// namespaces, once no processor can be in the middle of using them, some 10
		// ms later. All wait for that at the same time.
		var slow sync.WaitGroup
		var captured, carried error
		slow.Go(func() { captured = n.closeCapture() })
		slow.Go(func() { carried = n.stopWires() })
		errs = append(errs, n.stopDropLog(), n.takeDown())
		slow.Wait()
		errs = append(errs, captured, carried)
		n.release()
		n.failure = errors.Join(errs...)
	})
	return n.failure
}
