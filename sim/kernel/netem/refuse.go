//go:build linux

// Package netem carries a link by queueing disciplines of the kernel: netem for
// what happens to packets, and tbf for a rate. It is the other backend of links,
// beside package wire. Packets pass from one inner interface of a link to the other
// without leaving the kernel, and what tc-netem(8) cannot do as sim/link means it
// is refused.
package netem

import (
	"errors"
	"fmt"

	"p2pmodel/sim/link"
)

// Refuse tells what of an impairment netem cannot do as the model says, with the
// reason; nil: it can do all of it.
func Refuse(i link.Impairment) error {
	var errs []error
	no := func(there bool, what, why string) {
		if there {
			errs = append(errs, fmt.Errorf("netem has no %s: %s", what, why))
		}
	}
	no(i.Trace != link.Trace{}, "trace", "its rate does not change")
	no(i.Wander != link.Wander{}, "wander", "its delay stays what it is")
	no(i.Blackhole, "mtu that loses in silence", "it does not look at a packet's size")
	no(i.Jitter > 0 && !i.Reorder, "jitter that keeps packets in order", "it sends each when its own delay is over; say reorder: true")
	// The kernel takes the correlated number's remainder of a division by the range
	// of the jitter, or by the length of the table (tabledist in sch_netem.c).
	no(i.Correlation > 0, "jitter-correlation", "it divides the number that is correlated, and uses what is left over, which is not")
	no(i.Overtake.Correlation > 0, "overtake with correlation", "its correlation changes the share")
	// Its line comes behind its delay, so that nothing varying may be before it.
	limited := i.Rate > 0
	no(limited && i.Jitter > 0, "jitter before a rate", "its rate is behind its delay, and would smooth the jitter")
	no(limited && i.Overtake != link.Overtake{}, "overtake before a rate", "its rate is behind its delay, where nothing overtakes any more")
	own := i.Loss > 0 || i.Burst != link.Burst{} || i.Jitter > 0 || i.Overtake != link.Overtake{} || i.Corrupt > 0
	no(i.Duplicate > 0 && own, "duplicate together with loss, burst, jitter, overtake or corrupt", "its copies have a luck of their own")
	return errors.Join(errs...)
}
