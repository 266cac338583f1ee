package link

import (
	"fmt"
	"time"

	"p2pmodel/sim/document"
)

// The largest values that an impairment may have. They are beyond any link of
// the world, and small enough that no sum of times overflows.
const (
	MaxDelay = time.Minute
	MaxRate  = 1e12 // bits a second
	MinRate  = 1000 // bits a second: below, one packet takes longer than any protocol waits
	MaxQueue = 1 << 30
	// MinMTU is what every host must be able to put together (RFC 791 section 3.1);
	// Linux believes no Fragmentation Needed below 552. MaxMTU is Ethernet's.
	MinMTU, MaxMTU = 576, 1500
	// MinWander is how often a delay may wander at most.
	MinWander = 10 * time.Millisecond
	MaxGap    = 10000 // packets
)

// AxisError is an impairment out of its range.
type AxisError struct {
	// Axis is the key in the scenario file.
	Axis string
	// Message says what was given and what is allowed; it begins with the axis.
	Message string
}

func (e *AxisError) Error() string { return "link: " + e.Message }

// Validate checks each axis; the error is the first of Problems.
func (i Impairment) Validate() error {
	if all := i.Problems(); len(all) > 0 {
		return all[0]
	}
	return nil
}

// Problems are all that is wrong with an impairment, at most one for each axis.
func (i Impairment) Problems() []*AxisError {
	var all []*AxisError
	add := func(axis, format string, args ...any) {
		all = append(all, &AxisError{axis, fmt.Sprintf(format, args...)})
	}
	if i.Delay < 0 || i.Delay > MaxDelay {
		add("delay", "delay %v is not between 0s and %v", i.Delay, MaxDelay)
	}
	if i.Jitter < 0 || i.Jitter > i.Delay {
		add("jitter", "jitter %v is not between 0s and the delay, %v: no packet arrives before it was sent", i.Jitter, i.Delay)
	}
	switch {
	case !(i.Correlation >= 0 && i.Correlation < 1):
		add("jitter-correlation", "jitter-correlation %v is not between 0 and less than 1", i.Correlation)
	case i.Correlation > 0 && i.Jitter == 0:
		add("jitter-correlation", "jitter-correlation is nothing without jitter; set jitter")
	}
	switch {
	case i.Distribution > Normal:
		add("distribution", "distribution %d is none of uniform, normal", i.Distribution)
	case i.Distribution != Uniform && i.Jitter == 0:
		add("distribution", "distribution is nothing without jitter; set jitter")
	}
	if i.Reorder && i.Jitter == 0 {
		add("reorder", "without jitter nothing is reordered; set jitter, or overtake instead")
	}
	i.wanderProblems(add)
	i.overtakeProblems(add)
	if !probability(i.Loss) {
		add("loss", "loss %v is not between 0 and 1", i.Loss)
	}
	i.burstProblems(add)
	if !probability(i.Duplicate) {
		add("duplicate", "duplicate %v is not between 0 and 1", i.Duplicate)
	}
	if !probability(i.Corrupt) {
		add("corrupt", "corrupt %v is not between 0 and 1", i.Corrupt)
	}
	i.lineProblems(add)
	return all
}

type adder func(axis, format string, args ...any)

func probability(p float64) bool { return p >= 0 && p <= 1 } // NaN is none

func (i Impairment) wanderProblems(add adder) {
	switch w := i.Wander; {
	case w == Wander{}:
	case w.Delay <= 0 || w.Delay > MaxDelay:
		add("wander", "wander: delay %v is not above 0s and at most %v", w.Delay, MaxDelay)
	case w.Every < MinWander:
		add("wander", "wander: every %v is not at least %v", w.Every, MinWander)
	}
}

func (i Impairment) overtakeProblems(add adder) {
	switch o := i.Overtake; {
	case o == Overtake{}:
	case !probability(o.Share) || o.Share == 0:
		add("overtake", "overtake: share %v is not above 0 and at most 1", o.Share)
	case !(o.Correlation >= 0 && o.Correlation < 1):
		add("overtake", "overtake: correlation %v is not between 0 and less than 1", o.Correlation)
	case o.Gap < 0 || o.Gap > MaxGap:
		add("overtake", "overtake: gap %d is not between 1 and %d packets", o.Gap, MaxGap)
	case i.Delay == 0:
		add("overtake", "overtake is nothing without delay, which packets that overtake skip; set delay")
	}
}

func (i Impairment) burstProblems(add adder) {
	b := i.Burst
	switch {
	case b == Burst{}:
		return
	case i.Loss != 0:
		add("burst", "burst: loss %v is there as well; loss is independent or in bursts (burst: {good: %v} is loss outside of bursts)", i.Loss, i.Loss)
	case b.R > 0 && !probability(b.P) && b.P > 0 && b.Bad == 1 && b.Good == 0:
		add("burst", "burst: so much loss cannot come in bursts of %.3g packets: the gaps between them would be shorter than one packet", 1/b.R)
	case !probability(b.P) || b.P == 0:
		add("burst", "burst: p %v, the chance that a burst begins, is not above 0 and at most 1", b.P)
	case !probability(b.R) || b.R == 0:
		add("burst", "burst: r %v, the chance that a burst ends, is not above 0 and at most 1", b.R)
	case !probability(b.Bad):
		add("burst", "burst: bad %v is not between 0 and 1", b.Bad)
	case !probability(b.Good):
		add("burst", "burst: good %v is not between 0 and 1", b.Good)
	case b.Bad == 0 && b.Good == 0:
		add("burst", "burst: it loses nothing, neither bad nor good")
	}
}

func (i Impairment) lineProblems(add adder) {
	limited := i.Rate != 0 || i.Trace != Trace{}
	if i.Rate != 0 && (i.Rate < MinRate || i.Rate > MaxRate) {
		add("rate", "rate %s is not between %s and %s", document.FormatRate(i.Rate), document.FormatRate(MinRate), document.FormatRate(MaxRate))
	}
	switch {
	case i.Trace == Trace{}:
	case i.Trace.Period() == 0:
		add("trace", "trace %q has no times", i.Trace.File)
	case i.Rate != 0:
		add("trace", "trace: a rate is there as well; the trace is the rate")
	}
	switch {
	case i.Queue < 0 || i.Queue > MaxQueue:
		add("queue", "queue %d is not between 0 and %d bytes", i.Queue, MaxQueue)
	case i.Queue > 0 && !limited:
		add("queue", "a queue needs a rate or a trace; without one nothing waits")
	}
	switch {
	case i.MTU != 0 && (i.MTU < MinMTU || i.MTU > MaxMTU):
		add("mtu", "mtu %d is not between %d and %d bytes", i.MTU, MinMTU, MaxMTU)
	case i.Blackhole && i.MTU == 0:
		add("mtu", "mtu: what is larger is lost in silence, but larger than what? Set the size")
	}
}
