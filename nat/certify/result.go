// Package certify measures how a NAT behaves, from outside, and compares it
// with what was declared. The probe is sans-IO and has types of its own: it
// knows no laboratory, and it shares no code with the system that is tested
// behind the NAT.
package certify

import (
	"time"

	"p2pmodel/nat"
)

// Result is what a certification found.
type Result struct {
	// Declared and Measured are in the text form of nat.Behavior, with equal
	// axes: those that were measured. They are equal strings when the NAT is
	// what it claims.
	Declared, Measured string
	// Behavior is the measured behaviour; axes that were not measured have the
	// declared value.
	Behavior nat.Behavior
	// Findings are the evidence, one a measured axis, in order of measuring.
	Findings []Finding
	// Requirements are those of RFC 4787, if they were asked for.
	Requirements []Requirement
	Duration     time.Duration
	// Err is set when the probe itself failed, as when a socket could not be
	// opened: the laboratory broke, and nothing was measured.
	Err error
}

// OK reports whether the NAT is what it claims.
func (r Result) OK() bool { return r.Err == nil && r.Declared == r.Measured }

// Finding is what was measured of one axis, and why it was concluded.
type Finding struct {
	Axis               string // as in the text form: "mapping", "filtering", …
	Declared, Measured string
	// Evidence is for people: what was sent from where, and what was seen.
	Evidence []string
}
