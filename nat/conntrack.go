package nat

import (
	"fmt"
	"time"
)

// The idle timeouts of Linux's conntrack where nobody changed them
// (Documentation/networking/nf_conntrack-sysctl.rst; measured on Linux 6.18).
const (
	// ConntrackTimeout is that of UDP flows that no answer came for, and of those
	// younger than 2 s; and that of ICMP.
	ConntrackTimeout = 30 * time.Second
	// ConntrackStream is that of UDP flows that were answered and are older.
	ConntrackStream = 120 * time.Second
	// ConntrackTCP is that of TCP connections that are open. The kernel's own is five
	// days, longer than any laboratory stands and than a behaviour can name.
	ConntrackTCP = MaxTimeout
)

// conntrackTimeouts fills in what conntrack does where nothing is named.
func (b Behavior) conntrackTimeouts() Behavior {
	for _, t := range []struct {
		named     *time.Duration
		byDefault time.Duration
	}{
		{&b.Timeout, ConntrackTimeout}, {&b.Stream, ConntrackStream},
		{&b.TimeoutTCP, ConntrackTCP}, {&b.TimeoutICMP, ConntrackTimeout},
	} {
		if *t.named == 0 {
			*t.named = t.byDefault
		}
	}
	return b
}

// partSeconds gives an error for each timeout that conntrack cannot have: it
// counts whole seconds, by its sysctls as by nftables' timeout objects.
func (b Behavior) partSeconds() (errs []error) {
	for _, axis := range []Axis{AxisTimeout, AxisStream, AxisTimeoutTCP, AxisTimeoutICMP} {
		d := map[Axis]time.Duration{
			AxisTimeout: b.Timeout, AxisStream: b.Stream, AxisTimeoutTCP: b.TimeoutTCP, AxisTimeoutICMP: b.TimeoutICMP,
		}[axis]
		if d%time.Second != 0 {
			errs = append(errs, fmt.Errorf("%s=%s does not go with kind=%s: the kernel's conntrack counts whole seconds; "+
				"where a scale divides the times of a scenario, choose one that leaves whole seconds", axis, formatDuration(d), b.Kind))
		}
	}
	return errs
}
