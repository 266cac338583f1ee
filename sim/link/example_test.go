package link_test

import (
	"fmt"
	"time"

	"p2pmodel/sim/link"
)

// A link with a rate: packets wait for each other, and the queue has an end. The
// shaper has no clock, and the same seeds give the same losses.
func ExampleShaper() {
	s := link.NewShaper(link.Impairment{Delay: 20 * time.Millisecond, Rate: 8_000_000, Queue: 3000}, 1, 2)
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for range 5 {
		v := s.Next(now, 1000) // a millisecond's worth each
		if !v.Deliver {
			fmt.Println("lost:", v.Reason)
			continue
		}
		fmt.Println("arrives after", v.At.Sub(now))
	}
	// Output:
	// arrives after 21ms
	// arrives after 22ms
	// arrives after 23ms
	// lost: queue
	// lost: queue
}
