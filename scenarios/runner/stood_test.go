package runner

import (
	"testing"
	"time"
)

// TestAPeerThatStandsStillIsHeardAnew: one that the machine kept from speaking for so long
// that it doubts its path, since it has been listened to; not one that stuttered, nor
// one that did so before.
func TestAPeerThatStandsStillIsHeardAnew(t *testing.T) {
	since := taleStart.Add(time.Second)
	for _, row := range []struct {
		name       string
		begin, end time.Duration // from since on
		want       bool
	}{
		{"a second", 0, time.Second, true},
		{"into it", -500 * ms, 100 * ms, true},
		{"before it", -500 * ms, -100 * ms, false},
		{"a stutter", 0, 100 * ms, false},
	} {
		tl := tell(t, "full-cone", "expect: {path: direct}\n")
		tl.s.observe(tl.s.actors["b"], taleStart, stood{since.Add(row.begin), since.Add(row.end)})
		if got := tl.s.stoodStill(since); got != row.want {
			t.Errorf("%s: %v, want %v", row.name, got, row.want)
		}
	}
}
