//go:build linux

package wire

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"p2pmodel/sim/kernel/afpacket"
	"p2pmodel/sim/link"
)

// End is one end of a wire.
type End struct {
	// Socket is the packet socket of the end, from Open. The Scheduler owns it
	// from Add on.
	Socket int
	// Offload switches the interface in the node's namespace whose packets come
	// out at Socket: the veth peer of the socket's interface. Nil: the wire
	// leaves it alone, and segments of offload count as one packet. The
	// Scheduler owns it from Add on.
	Offload *Offload
}

// Open opens the packet socket of an end on an interface (by index) of the
// calling thread's network namespace: the inner veth end. Hand it to Add, or
// close it with unix.Close.
//
// The socket writes past the interface's queueing discipline. After each change
// of carrier Linux leaves "noop" in its place until the kernel's link watch gets
// to it (linkwatch_do_dev, in a worker under the RTNL lock: milliseconds on a
// busy machine), and noop throws frames away without telling the sender.
func Open(ifindex int) (fd int, err error) {
	fd, err = afpacket.Open(ifindex, afpacket.Options{IgnoreOutgoing: true})
	if err != nil {
		return -1, err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1); err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("wire: socket on interface %d: PACKET_QDISC_BYPASS: %w", ifindex, err)
	}
	return fd, nil
}

// Close closes both parts of an end that was not handed to a Scheduler.
func (e End) Close() error {
	err := unix.Close(e.Socket)
	if e.Offload != nil {
		err = errors.Join(err, e.Offload.Close())
	}
	return err
}

// Counters count the frames of one direction of a link, since it was added.
type Counters struct {
	link.Counts
	// Overrun and Failed are faults of the laboratory, not of the modelled link:
	// frames that the kernel did not queue for the scheduler, and frames that
	// it refused to write. A verdict does not stand on a run in which they grew.
	Overrun uint64
	Failed  uint64
}

// Link is a wire of a Scheduler. Its methods are safe for concurrent use; each
// takes effect, for both directions at once, before it returns. Packets that
// were sent before the call are treated by the state before it.
type Link struct {
	s        *Scheduler
	up, down *direction // a to b, b to a
	ends     [2]End
	switches switches

	// The rest belongs to the scheduler's thread.
	cut    bool
	closed bool
	drops  dropLog
}

// Set changes the impairments of both directions. Packets on their way keep
// their times.
func (l *Link) Set(up, down link.Impairment) error {
	if err := validate(up, down); err != nil {
		return err
	}
	return l.switches.around(up, down, func() error {
		return l.whileOpen(func() {
			l.s.drain(l)
			l.up.change(up)
			l.down.change(down)
		})
	})
}

// Cut cuts the link or restores it. While cut it loses the packets that enter,
// and those on their way whose time to arrive falls into the cut.
func (l *Link) Cut(cut bool) error {
	var failure error
	if err := l.s.do(func() {
		if l.closed {
			failure = ErrClosed
			return
		}
		l.s.drain(l)
		l.cut = cut
	}); err != nil {
		return err
	}
	return failure
}

// Counters gives the counts of both directions. After Close they are the last.
func (l *Link) Counters() (up, down Counters) {
	read := func() { up, down = l.up.count(), l.down.count() }
	if l.s.do(func() {
		if !l.closed {
			l.s.drain(l)
			l.up.countOverrun()
			l.down.countOverrun()
		}
		read()
	}) != nil {
		<-l.s.done // the thread has ended: nobody else writes them
		read()
	}
	return up, down
}

// Err is a fault of the laboratory on this link, if there was one: frames that
// the kernel did not queue or refused to write. Nil otherwise.
func (l *Link) Err() error {
	up, down := l.Counters()
	return errors.Join(up.fault("up"), down.fault("down"))
}

func (c Counters) fault(name string) error {
	var errs []error
	if c.Overrun > 0 {
		errs = append(errs, fmt.Errorf("wire %s: the kernel dropped %d frames before they were read; the machine is too busy for this lab", name, c.Overrun))
	}
	if c.Failed > 0 {
		errs = append(errs, fmt.Errorf("wire %s: the kernel refused %d frames; is the far interface up, with the same MTU?", name, c.Failed))
	}
	return errors.Join(errs...)
}

// Close takes the link out of its Scheduler and closes its ends. Packets on
// their way are lost. It may be called twice.
func (l *Link) Close() error {
	var failure error
	if err := l.s.do(func() { failure = l.s.remove(l) }); err != nil && !errors.Is(err, ErrClosed) {
		return err
	}
	return failure
}

func validate(up, down link.Impairment) error {
	if err := up.Validate(); err != nil {
		return fmt.Errorf("wire up: %w", err)
	}
	if err := down.Validate(); err != nil {
		return fmt.Errorf("wire down: %w", err)
	}
	return nil
}
