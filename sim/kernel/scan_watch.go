//go:build linux

package kernel

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"p2pmodel/sim"
	"p2pmodel/sim/kernel/afpacket"
	"p2pmodel/sim/kernel/scan"
)

// scanWatch sees what a scan does on the wires: its probes at the uplinks of all
// other hosts, and answers at those of the host that scans.
type scanWatch struct {
	maker   *scan.Maker
	points  []scanPoint
	closing chan struct{}
	done    chan struct{} // closed when the reader has ended
	began   time.Time
	last    atomic.Int64 // nanoseconds from began to when something was seen

	// Of the reader until done is closed.
	reached map[sim.Reached]bool
	answers map[sim.Answer]bool
	err     error
}

// scanPoint is a socket of a scanWatch.
type scanPoint struct {
	fd   int
	host string // whose probes are looked for; empty: answers are
}

// watchScan begins to watch.
func (h *Host) watchScan(maker *scan.Maker) (*scanWatch, error) {
	w := &scanWatch{
		maker: maker, closing: make(chan struct{}), done: make(chan struct{}), began: time.Now(),
		reached: make(map[sim.Reached]bool), answers: make(map[sim.Answer]bool),
	}
	for _, other := range h.network.hosts {
		for _, c := range other.uplinks {
			name, filter := other.lab.Name, scan.Probes
			if other == h {
				name, filter = "", scan.Arrivals
			}
			fd, err := c.openScanPoint(filter)
			if err != nil {
				w.close()
				return nil, c.errorf("watch the scan", err)
			}
			w.points = append(w.points, scanPoint{fd, name})
		}
	}
	go w.run()
	return w, nil
}

// openScanPoint opens a socket at the node's end of a link.
func (c *cable) openScanPoint(filter *unix.SockFprog) (fd int, err error) {
	err = c.child.ns.inside(func() error {
		if fd, err = afpacket.Open(c.lower.index, afpacket.Options{IgnoreOutgoing: true}); err != nil {
			return err
		}
		if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, filter); err != nil {
			_ = unix.Close(fd)
			return fmt.Errorf("attach a filter: %w", err)
		}
		return nil
	})
	return fd, err
}

// scanNap is how long packets wait to be read.
const scanNap = 2 * time.Millisecond

// run reads until the watch is stopped, and then what is left.
func (w *scanWatch) run() {
	defer close(w.done)
	in := afpacket.NewReceiver(scanBatch)
	for {
		var last bool
		select {
		case <-w.closing:
			last = true
		case <-time.After(scanNap):
		}
		for _, p := range w.points {
			if err := w.drain(in, p); err != nil {
				w.err = err
				return
			}
		}
		if last {
			return
		}
	}
}

// drain reads what is there at a point.
func (w *scanWatch) drain(in *afpacket.Receiver, p scanPoint) error {
	for {
		n, err := in.Receive(p.fd)
		if err != nil {
			return fmt.Errorf("watch the scan: %w", err)
		}
		for i := range n {
			if w.see(p, in.Frame(i).Data) {
				w.last.Store(int64(time.Since(w.began)))
			}
		}
		if n < in.Size() {
			return nil
		}
	}
}

// see reports whether a frame is of the scan.
func (w *scanWatch) see(p scanPoint, frame []byte) bool {
	const ethernet = 14
	if len(frame) < ethernet {
		return false
	}
	if p.host == "" {
		a, ok := w.maker.Answer(frame[ethernet:])
		if ok {
			w.answers[a] = true
		}
		return ok
	}
	probe, ok := w.maker.Probe(frame[ethernet:])
	if ok {
		w.reached[sim.Reached{Probe: probe, Host: p.host}] = true
	}
	return ok
}

// silence is how long nothing of the scan has been seen.
func (w *scanWatch) silence() time.Duration {
	return time.Since(w.began) - time.Duration(w.last.Load())
}

// stop ends the watch and gives what it saw, and how many packets it missed.
func (w *scanWatch) stop(result *sim.ScanResult) (missed uint64, err error) {
	close(w.closing)
	<-w.done
	err = w.err
	for _, p := range w.points {
		n, lost := afpacket.Drops(p.fd)
		missed, err = missed+n, errors.Join(err, lost)
	}
	w.close()
	for r := range w.reached {
		result.Reached = append(result.Reached, r)
	}
	slices.SortFunc(result.Reached, sim.Reached.Compare)
	for a := range w.answers {
		result.Answers = append(result.Answers, a)
	}
	slices.SortFunc(result.Answers, sim.Answer.Compare)
	return missed, err
}

func (w *scanWatch) close() {
	var fds []int
	for _, p := range w.points {
		fds = append(fds, p.fd)
	}
	_ = afpacket.Close(fds...)
}

// drops counts the packets that the machine has dropped between the ends of
// links since they were made, those excepted that are unplugged.
func (n *Network) drops() (total uint64, err error) {
	watched := make(map[*node]map[string]bool)
	at := func(node *node, i *iface) {
		if watched[node] == nil {
			watched[node] = make(map[string]bool)
		}
		watched[node][i.name] = true
	}
	for _, c := range n.order {
		c.mu.Lock()
		plugged := !c.unplugged
		c.mu.Unlock()
		if plugged {
			at(c.child, c.lower)
			at(c.parent, c.upper)
		}
	}
	for node, names := range watched {
		var dropped uint64
		err := node.ns.inside(func() (err error) {
			dropped, err = transmitDrops(names)
			return err
		})
		if err != nil {
			return 0, fmt.Errorf("node %s: count dropped packets: %w", node.name, err)
		}
		total += dropped
	}
	return total, nil
}

// transmitDrops sums the packets that interfaces of the calling thread's
// namespace could not send.
func transmitDrops(names map[string]bool) (total uint64, err error) {
	file, err := os.Open("/proc/thread-self/net/dev")
	if err != nil {
		return 0, err
	}
	defer func() { _ = file.Close() }()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		name, counters, ok := strings.Cut(lines.Text(), ":")
		if !ok || !names[strings.TrimSpace(name)] {
			continue
		}
		// Eight of what was received; of what was sent, drops are the fourth.
		fields := strings.Fields(counters)
		if len(fields) < 12 {
			return 0, fmt.Errorf("%s: %d counters, want 12 at least", strings.TrimSpace(name), len(fields))
		}
		n, err := strconv.ParseUint(fields[11], 10, 64)
		if err != nil {
			return 0, err
		}
		total += n
	}
	return total, nil
}
