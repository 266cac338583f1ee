package sim

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"p2pmodel/sim/link"
)

// Measurement is what one direction of an impaired link was found to do.
type Measurement struct {
	Link      LinkID
	Direction Direction
	Promised  link.Impairment
	// Sent and Lost count probes.
	Sent, Lost int
	// Expected is the median of the delays that the model gave to the probes that
	// arrived, and Achieved that of the delays that they had.
	Expected, Achieved time.Duration
}

// What a link may miss its promise by. Beyond it the machine is too busy, and a
// run is broken.
const (
	// MinTolerance and ToleranceShare: the median of the probes before a run may be
	// so late, the larger of the time and the share of the link's delay.
	MinTolerance   = 2 * time.Millisecond
	ToleranceShare = 10 // a tenth
	// MinLate is the same for one in twenty of all packets of a run: the host of a
	// virtual machine takes the processors away for tens of milliseconds at a time, two
	// in a hundred of the time where that was measured.
	MinLate = 10 * time.Millisecond
	// lateCount is how many packets one in twenty needs to mean anything.
	lateCount = 100
)

// String says what was promised and what came of it.
func (m Measurement) String() string {
	return fmt.Sprintf("link of %s %s: promised %s; achieved %s (%s), %d of %d lost", m.Link, m.Direction,
		DescribeImpairment(m.Promised), round(m.Achieved), signed(m.Achieved-m.Expected), m.Lost, m.Sent)
}

// Err says whether the promise was not kept: the delay's median is off by more
// than the larger of 2 ms and a tenth of the delay, or so many probes were lost
// as chance does not explain (five standard deviations, and three more).
func (m Measurement) Err() error {
	var errs []string
	tolerance := max(MinTolerance, m.Promised.Delay/ToleranceShare)
	if off := m.Achieved - m.Expected; m.Sent > m.Lost && max(off, -off) > tolerance {
		errs = append(errs, fmt.Sprintf("packets take %s instead of %s, more than %v off", round(m.Achieved), round(m.Expected), tolerance))
	}
	if want, spread := m.lossOf(); math.Abs(float64(m.Lost)-want) > spread {
		errs = append(errs, fmt.Sprintf("%d of %d probes were lost, where %.1f ± %.0f were to be", m.Lost, m.Sent, want, spread))
	}
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("the link of %s does not keep its promise %s: it promised %s, but %s; the machine is too busy for this lab: run less at once",
		m.Link, m.Direction, DescribeImpairment(m.Promised), strings.Join(errs, ", and "))
}

// lossOf gives how many probes are to be lost, and how far chance may be off.
func (m Measurement) lossOf() (want, spread float64) {
	n, p := float64(m.Sent), m.Promised.MeanLoss()
	variance := n * p * (1 - p)
	if b := m.Promised.Burst; b != (link.Burst{}) {
		variance *= 1 + 2*b.Length() // losses come together
	}
	return n * p, 5*math.Sqrt(variance) + 3
}

// LateErr says whether a direction of a link was too late in a run: one packet in
// twenty by more than the larger of 10 ms and a tenth of its delay.
func LateErr(id LinkID, d Direction, promised link.Impairment, late link.Lateness) error {
	bound := max(MinLate, promised.Delay/ToleranceShare)
	if promised.IsZero() || late.Packets < lateCount || late.P95 <= bound {
		return nil
	}
	return fmt.Errorf("the link of %s did not keep its promise %s: of %d packets, one in twenty was more than %s late (at most %v may be, the worst was %s); the machine is too busy for this lab: run less at once",
		id, d, late.Packets, round(late.P95), bound, round(late.Max))
}

// Kept joins the errors of all measurements.
func Kept(all []Measurement) error {
	var errs []error
	for _, m := range all {
		errs = append(errs, m.Err())
	}
	return errors.Join(errs...)
}

// round keeps three digits or so.
func round(d time.Duration) time.Duration {
	if d > time.Second || d < -time.Second {
		return d.Round(time.Millisecond)
	}
	return d.Round(10 * time.Microsecond)
}

func signed(d time.Duration) string {
	if d < 0 {
		return round(-d).String() + " early"
	}
	return round(d).String() + " late"
}
