package link

import (
	"fmt"
	"math"
	"time"
)

// The largest values that an impairment may have. They are beyond any link of
// the world, and small enough that no sum of times overflows.
const (
	MaxDelay = time.Minute
	MaxRate  = 1e12 // bits a second
	MinRate  = 1000 // bits a second
	MaxQueue = 1 << 30
)

// AxisError is an impairment out of its range.
type AxisError struct {
	// Axis is the name in the scenario file: delay, jitter, loss, rate, queue,
	// reorder.
	Axis string
	// Value is what was given, Range what is allowed, both for people.
	Value, Range string
}

func (e *AxisError) Error() string {
	return fmt.Sprintf("link: %s is %s; it must be %s", e.Axis, e.Value, e.Range)
}

// Validate checks each axis; the error is an *AxisError.
func (i Impairment) Validate() error {
	switch {
	case i.Delay < 0 || i.Delay > MaxDelay:
		return &AxisError{"delay", i.Delay.String(), fmt.Sprintf("0 to %v", MaxDelay)}
	case i.Jitter < 0 || i.Jitter > i.Delay:
		return &AxisError{"jitter", i.Jitter.String(), fmt.Sprintf("0 to the delay (%v), for no packet arrives before it was sent", i.Delay)}
	case i.Reorder && i.Jitter == 0:
		return &AxisError{"reorder", "on without jitter", "off, or jitter above 0: only jitter makes packets overtake each other"}
	case math.IsNaN(i.Loss) || i.Loss < 0 || i.Loss > 1:
		return &AxisError{"loss", fmt.Sprint(i.Loss), "a probability, 0 to 1"}
	case i.Rate != 0 && (i.Rate < MinRate || i.Rate > MaxRate):
		return &AxisError{"rate", fmt.Sprintf("%d bit/s", i.Rate), fmt.Sprintf("0 (unlimited) or %d to %.0f bit/s", MinRate, float64(MaxRate))}
	case i.Queue < 0 || i.Queue > MaxQueue:
		return &AxisError{"queue", fmt.Sprintf("%d bytes", i.Queue), fmt.Sprintf("0 (100 ms worth of the rate) to %d bytes", MaxQueue)}
	case i.Queue != 0 && i.Rate == 0:
		return &AxisError{"queue", fmt.Sprintf("%d bytes without a rate", i.Queue), "0, or beside a rate: only a link with a rate has a queue"}
	}
	return nil
}
