package nat

import (
	"errors"
	"fmt"
	"strconv"
	"time"
)

const (
	// MinTimeout is the shortest idle timeout: below it, the kernel's timer
	// resolution and a certification's round trips blur the measurement.
	MinTimeout = 100 * time.Millisecond
	// MaxTimeout is the longest idle timeout.
	MaxTimeout = 24 * time.Hour
	// MaxTableSize is the largest table: all ports of 16 external addresses.
	MaxTableSize = 1 << 20
	// MaxDelta is the largest step of sequential ports.
	MaxDelta = 1024
	// MinBlock and MaxBlock bound the size of a block of ports.
	MinBlock, MaxBlock = 16, 16384
)

// Resolved gives the behaviour with its defaults filled in: Range, the timeouts
// of all protocols, TableSize, Delta and Block are then never zero. Kinds other
// than KindRFC have the timeouts of Linux's conntrack where none are named.
func (b Behavior) Resolved() Behavior {
	if b.Kind != KindRFC {
		b = b.conntrackTimeouts()
	}
	if b.Range == (PortRange{}) {
		b.Range = DefaultPortRange
	}
	if b.Timeout == 0 {
		b.Timeout = DefaultTimeout
	}
	if b.TableSize == 0 {
		b.TableSize = DefaultTableSize
	}
	if b.Stream == 0 {
		b.Stream = b.Timeout
	}
	if b.TimeoutTCP == 0 {
		b.TimeoutTCP = max(b.Timeout, TCPTimeout)
	}
	if b.TimeoutICMP == 0 {
		b.TimeoutICMP = b.Timeout
	}
	if b.Delta == 0 {
		b.Delta = DefaultDelta
	}
	if b.Block == 0 {
		b.Block = DefaultBlock
	}
	return b
}

// Implied gives the behaviour of a kind, with the axes that it decides; false:
// the kind decides none.
func (k Kind) Implied() (Behavior, bool) {
	b := Behavior{Kind: k, Filtering: AddressAndPortDependent, Refresh: RefreshBoth}
	switch k {
	case KindMasquerade:
		b.Mapping, b.Ports = EndpointIndependent, Preserve
	case KindMasqueradeRandom, KindMasqueradeFullyRandom:
		b.Mapping, b.Ports = AddressAndPortDependent, Random
	default:
		return Behavior{}, false
	}
	return b, true
}

// decided are the axes that a kind other than KindRFC decides.
var decided = []Axis{
	AxisMapping, AxisFiltering, AxisPorts, AxisFallback, AxisDelta, AxisBlock, AxisParity, AxisScope,
	AxisPooling, AxisRefresh, AxisRotate, AxisHairpin, AxisFull,
}

// imply gives the axes that the kind decides their values.
func (b *Behavior) imply() {
	implied, ok := b.Kind.Implied()
	if !ok {
		return
	}
	implied.Range, implied.TableSize, implied.Early = b.Range, b.TableSize, b.Early
	implied.Timeout, implied.Stream, implied.TimeoutTCP, implied.TimeoutICMP = b.Timeout, b.Stream, b.TimeoutTCP, b.TimeoutICMP
	*b = implied
}

// Validate checks every axis, and that they go together. The error joins one line
// an invalid axis, each naming the axis, its value and the valid values.
func (b Behavior) Validate() error {
	var errs []error
	check := func(axis Axis, ok bool, value string) {
		if !ok {
			errs = append(errs, valueError(axis, value))
		}
	}
	check(AxisMapping, int(b.Mapping) < len(mappingShort), b.Mapping.String())
	check(AxisFiltering, int(b.Filtering) < len(filteringShort), b.Filtering.String())
	check(AxisPorts, int(b.Ports) < len(allocationNames), b.Ports.String())
	check(AxisScope, int(b.Scope) < len(scopeNames), b.Scope.String())
	check(AxisRange, b.Range == (PortRange{}) || b.Range.valid(), b.Range.String())
	check(AxisPooling, int(b.Pooling) < len(poolingNames), b.Pooling.String())
	check(AxisTimeout, b.Timeout == 0 || validTimeout(b.Timeout), formatDuration(b.Timeout))
	check(AxisRefresh, int(b.Refresh) < len(refreshNames), b.Refresh.String())
	check(AxisHairpin, int(b.Hairpin) < len(hairpinNames), b.Hairpin.String())
	check(AxisSize, b.TableSize >= 0 && b.TableSize <= MaxTableSize, strconv.Itoa(b.TableSize))
	check(AxisFallback, int(b.Fallback) < len(fallbackNames), b.Fallback.String())
	check(AxisDelta, b.Delta >= 0 && b.Delta <= MaxDelta, strconv.Itoa(b.Delta))
	check(AxisBlock, b.Block == 0 || b.Block >= MinBlock && b.Block <= MaxBlock, strconv.Itoa(b.Block))
	check(AxisParity, int(b.Parity) < len(parityNames), b.Parity.String())
	check(AxisStream, b.Stream == 0 || validTimeout(b.Stream), formatDuration(b.Stream))
	check(AxisTimeoutTCP, b.TimeoutTCP == 0 || validTimeout(b.TimeoutTCP), formatDuration(b.TimeoutTCP))
	check(AxisTimeoutICMP, b.TimeoutICMP == 0 || validTimeout(b.TimeoutICMP), formatDuration(b.TimeoutICMP))
	check(AxisRotate, b.Rotate == 0 || validTimeout(b.Rotate), formatDuration(b.Rotate))
	check(AxisFull, int(b.Full) < len(fullNames), b.Full.String())
	check(AxisKind, int(b.Kind) < len(kindNames), b.Kind.String())
	check(AxisEarly, int(b.Early) < len(earlyNames), b.Early.String())
	if len(errs) == 0 {
		errs = b.conflicts()
	}
	return errors.Join(errs...)
}

// conflicts are the axes that mean nothing beside others, or contradict them.
func (b Behavior) conflicts() (errs []error) {
	needs := func(axis Axis, ok bool, what string) {
		if !ok {
			errs = append(errs, fmt.Errorf("%s=%s goes with %s only", axis, b.Get(axis), what))
		}
	}
	r := b.Resolved()
	needs(AxisFallback, b.Fallback == FallbackSequential || b.Ports == Preserve, "ports=preserve")
	needs(AxisDelta, r.Delta == DefaultDelta || b.Ports == Sequential || b.Ports == Preserve && b.Fallback == FallbackSequential,
		"ports=sequential, or with preserve that falls back to it,")
	needs(AxisBlock, b.Block == 0 || b.Ports == Block, "ports=block")
	needs(AxisEarly, b.Early == EarlyDrop || b.Kind != KindRFC, "kinds of masquerade")
	if b.Ports == Block && r.Block > r.Range.Size() {
		errs = append(errs, fmt.Errorf("block=%d does not fit into range=%s", r.Block, r.Range))
	}
	if r.Delta >= r.Range.Size() && r.Delta > 1 {
		errs = append(errs, fmt.Errorf("delta=%d does not fit into range=%s", r.Delta, r.Range))
	}
	implied, fixed := b.Kind.Implied()
	if fixed {
		errs = append(errs, b.partSeconds()...)
	}
	for _, axis := range decided {
		if fixed && b.Get(axis) != implied.Get(axis) {
			errs = append(errs, fmt.Errorf("%s=%s contradicts kind=%s, which is %s=%s", axis, b.Get(axis), b.Kind, axis, implied.Get(axis)))
		}
	}
	return errs
}

func validTimeout(d time.Duration) bool {
	return d >= MinTimeout && d <= MaxTimeout && d%time.Millisecond == 0
}
