package nat

import (
	"encoding"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

var (
	_ encoding.TextMarshaler   = Behavior{}
	_ encoding.TextUnmarshaler = (*Behavior)(nil)
)

// ParseBehavior reads the text form: `axis=value` items separated by commas,
// in any order and case, each axis at most once. Axes that are not named have
// their default. The first item may be a preset's name instead, which stands
// for its behaviour; the other items then override axes of it.
//
//	mapping=EIM,filtering=ADF,ports=sequential,timeout=5s
//	symmetric
//	port-restricted,timeout=30s,hairpin=external
func ParseBehavior(text string) (Behavior, error) {
	var b Behavior
	if strings.TrimSpace(text) == "" {
		return b, errors.New("empty behaviour: name a preset or axes, as in mapping=EIM,filtering=APDF,ports=preserve")
	}
	type setting struct {
		axis  Axis
		value string
	}
	var settings []setting
	for i, item := range strings.Split(text, ",") {
		key, value, found := strings.Cut(item, "=")
		key = strings.ToLower(strings.TrimSpace(key))
		if !found {
			if i > 0 {
				return Behavior{}, fmt.Errorf("behaviour %q: %q is no axis=value, and a preset's name stands first", text, strings.TrimSpace(item))
			}
			p, err := PresetNamed(key)
			if err != nil {
				return Behavior{}, fmt.Errorf("behaviour %q: %w", text, err)
			}
			b = p.Behavior
			continue
		}
		settings = append(settings, setting{Axis(key), value})
	}
	// The kind first, as in SettingOrder.
	slices.SortStableFunc(settings, func(x, y setting) int {
		switch {
		case x.axis == AxisKind && y.axis != AxisKind:
			return -1
		case x.axis != AxisKind && y.axis == AxisKind:
			return 1
		}
		return 0
	})
	seen := make(map[Axis]bool)
	for _, s := range settings {
		if err := b.Set(s.axis, s.value); err != nil {
			return Behavior{}, fmt.Errorf("behaviour %q: %w", text, err)
		}
		if seen[s.axis] {
			return Behavior{}, fmt.Errorf("behaviour %q: %s is given twice", text, s.axis)
		}
		seen[s.axis] = true
	}
	if err := b.Validate(); err != nil {
		return Behavior{}, fmt.Errorf("behaviour %q: %w", text, err)
	}
	return b, nil
}

// String gives the canonical text form: mapping, filtering and ports always,
// and then the axes that differ from their default. ParseBehavior reads it
// back to an equal behaviour.
func (b Behavior) String() string {
	var axes []Axis
	for _, a := range Axes() {
		if !b.isDefault(a) {
			axes = append(axes, a)
		}
	}
	return b.Text(axes...)
}

// Text gives the text form with exactly these axes, in canonical order and
// with defaults resolved, so that two behaviours that are equal in these axes
// give equal strings.
func (b Behavior) Text(axes ...Axis) string {
	var items []string
	for _, a := range Axes() {
		for _, wanted := range axes {
			if a == wanted {
				items = append(items, string(a)+"="+b.Get(a))
				break
			}
		}
	}
	return strings.Join(items, ",")
}

// MarshalText gives the canonical text form; it fails for invalid behaviours.
func (b Behavior) MarshalText() ([]byte, error) {
	if err := b.Validate(); err != nil {
		return nil, err
	}
	return []byte(b.String()), nil
}

// UnmarshalText reads the text form.
func (b *Behavior) UnmarshalText(text []byte) error {
	parsed, err := ParseBehavior(string(text))
	if err == nil {
		*b = parsed
	}
	return err
}

// formatDuration drops the zero units of time.Duration's form: 5m, not 5m0s.
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Scaled divides all times of the behaviour, to whole milliseconds. What comes of
// it may be invalid: times that are too short, or no whole seconds for a kind whose
// clock counts them.
func (b Behavior) Scaled(by int) Behavior {
	for _, d := range []*time.Duration{&b.Timeout, &b.Stream, &b.TimeoutTCP, &b.TimeoutICMP, &b.Rotate} {
		if by > 1 {
			*d = (*d / time.Duration(by)).Round(time.Millisecond)
		}
	}
	return b
}
