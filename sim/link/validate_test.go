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

// TestProfilesAreSound: each is valid and says where it is from.
func TestProfilesAreSound(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range link.Profiles() {
		if seen[p.Name] {
			t.Errorf("profile %s is there twice", p.Name)
		}
		seen[p.Name] = true
		if err := errors.Join(p.Up.Validate(), p.Down.Validate()); err != nil {
			t.Errorf("profile %s: %v", p.Name, err)
		}
		if p.Up.IsZero() || p.Down.IsZero() || p.Title == "" || p.Source == "" || p.Evidence == "" {
			t.Errorf("profile %s does nothing, or does not say what it is and where from: %+v", p.Name, p)
		}
		if found, ok := link.ProfileNamed(p.Name); !ok || found != p {
			t.Errorf("profile %s is not found by its name", p.Name)
		}
	}
	for _, name := range []string{"wifi", "wifi-bad", "4g", "4g-good", "hspa", "3g", "edge", "5g", "dsl", "cable", "geo-satellite", "starlink"} {
		if !seen[name] {
			t.Errorf("there is no profile %s", name)
		}
	}
}
