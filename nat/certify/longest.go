package certify

import (
	"time"

	"p2pmodel/nat"
)

// LongestTimeout is the longest idle timeout that a certification waits for. Those
// of products are minutes, which every run of a scenario would have to wait; where
// one matters, the scenario scales it down.
const LongestTimeout = 8 * time.Second

// MeasuresTimeout says whether a certification of the behaviour measures its
// timeout: one is named, and it is not longer than LongestTimeout.
func MeasuresTimeout(b nat.Behavior) bool {
	return b.Timeout > 0 && b.Timeout <= LongestTimeout
}
