package link_test

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"p2pmodel/sim/link"
)

func TestValidateNamesTheAxis(t *testing.T) {
	for _, c := range []struct {
		name string
		imp  link.Impairment
		axis string // empty: valid
		says string
	}{
		{"nothing", link.Impairment{}, "", ""},
		{"4g", link.Impairment{Delay: 30 * ms, Jitter: 10 * ms, Loss: 0.01, Rate: 50e6}, "", ""},
		{"negative delay", link.Impairment{Delay: -1}, "delay", "between 0s and 1m0s"},
		{"delay of an hour", link.Impairment{Delay: time.Hour}, "delay", "1h0m0s"},
		{"jitter above the delay", link.Impairment{Delay: ms, Jitter: 2 * ms}, "jitter", "between 0s and the delay, 1ms"},
		{"reorder without jitter", link.Impairment{Delay: ms, Reorder: true}, "reorder", "set jitter"},
		{"loss in percent", link.Impairment{Loss: 2}, "loss", "not between 0 and 1"},
		{"loss below 0", link.Impairment{Loss: -0.1}, "loss", "-0.1"},
		{"loss that is no number", link.Impairment{Loss: math.NaN()}, "loss", "NaN"},
		{"rate in megabits", link.Impairment{Rate: 54}, "rate", "54bit"},
		{"rate beyond all links", link.Impairment{Rate: 1e13}, "rate", "1Tbit"},
		{"negative queue", link.Impairment{Rate: 1e6, Queue: -1}, "queue", "queue -1"},
		{"queue without rate", link.Impairment{Queue: 3000}, "queue", "needs a rate or a trace"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.imp.Validate()
			if c.axis == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			var axis *link.AxisError
			if !errors.As(err, &axis) || axis.Axis != c.axis {
				t.Fatalf("error %v, want one of axis %s", err, c.axis)
			}
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("%q does not say %q", err, c.says)
			}
		})
	}
}
