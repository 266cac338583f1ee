//go:build linux

package kernel

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"p2pmodel/sim/document"
	"p2pmodel/sim/kernel/capture"
	"p2pmodel/sim/witness"
)

// Tap is a capture at one node, apart from that of the witness, for who wants to
// look on. It leaves out what that leaves out. Its methods are safe for
// concurrent use.
type Tap struct {
	network  *Network
	recorder *capture.Recorder
	points   []witness.Point
}

// taps are those of a network that are open: their sockets would hold its
// namespaces.
type taps struct {
	mu     sync.Mutex
	open   map[*Tap]struct{}
	closed bool
}

// Tap begins a capture at a node of the lab, at all of its interfaces or at the one
// named: an uplink, or "to NODE" for the way to what stands behind it. Packets
// that nobody takes are kept up to capture.DefaultLimit bytes. It must be closed.
func (n *Network) Tap(name, at string) (*Tap, error) {
	node := n.nodes[name]
	if node == nil || name == wireNode {
		return nil, unknown("node", name, n.nodes)
	}
	ifaces, err := node.ifacesNamed(at)
	if err != nil {
		return nil, err
	}
	recorder, err := capture.New(0)
	if err != nil {
		return nil, err
	}
	t := &Tap{network: n, recorder: recorder}
	filter := evidence(false, false)
	for _, i := range ifaces {
		if err := node.listen(recorder, i, filter); err != nil {
			return nil, errors.Join(err, recorder.Close())
		}
		t.points = append(t.points, i.point)
	}
	n.taps.mu.Lock()
	defer n.taps.mu.Unlock()
	if n.taps.closed {
		return nil, errors.Join(errClosed, recorder.Close())
	}
	if n.taps.open == nil {
		n.taps.open = make(map[*Tap]struct{})
	}
	n.taps.open[t] = struct{}{}
	return t, nil
}

// ifacesNamed gives the interface that the witness or the kernel calls so; "":
// all.
func (n *node) ifacesNamed(name string) ([]*iface, error) {
	if name == "" && len(n.ifaces) > 0 {
		return n.ifaces, nil
	}
	var have []string
	for _, i := range n.ifaces {
		if i.point.Interface == name || i.name == name {
			return []*iface{i}, nil
		}
		have = append(have, i.point.Interface)
	}
	if len(have) == 0 {
		return nil, fmt.Errorf("node %s has no interfaces: nothing stands behind it", n.name)
	}
	slices.Sort(have)
	if near, ok := document.Nearest(name, have); ok {
		return nil, fmt.Errorf("node %s has no interface %q; did you mean %q?", n.name, name, near)
	}
	return nil, fmt.Errorf("node %s has no interface %q; it has %s", n.name, name, strings.Join(have, ", "))
}

// Points are the places that it watches.
func (t *Tap) Points() []witness.Point { return slices.Clone(t.points) }

// Take gives the packets since the last Take, in order of time. After Close it
// gives those that were left.
func (t *Tap) Take() []witness.Packet { return t.recorder.Take() }

// Dropped tells of packets that it could not keep up with; nil: none.
func (t *Tap) Dropped() error { return t.recorder.Dropped().Err() }

// Close ends it. It may be called twice.
func (t *Tap) Close() error {
	t.network.taps.mu.Lock()
	delete(t.network.taps.open, t)
	t.network.taps.mu.Unlock()
	return t.recorder.Close()
}

// close ends all taps when the lab is closed; there will be no more.
func (ts *taps) close() error {
	ts.mu.Lock()
	ts.closed = true
	open := ts.open
	ts.open = nil
	ts.mu.Unlock()
	var errs []error
	for t := range open {
		errs = append(errs, t.recorder.Close())
	}
	return errors.Join(errs...)
}
