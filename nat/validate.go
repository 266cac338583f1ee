package nat

import (
	"errors"
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
)

// Resolved gives the behaviour with its defaults filled in: Range, Timeout and
// TableSize are then never zero.
func (b Behavior) Resolved() Behavior {
	if b.Range == (PortRange{}) {
		b.Range = DefaultPortRange
	}
	if b.Timeout == 0 {
		b.Timeout = DefaultTimeout
	}
	if b.TableSize == 0 {
		b.TableSize = DefaultTableSize
	}
	return b
}

// Validate checks every axis. The error joins one line an invalid axis, each
// naming the axis, its value and the valid values.
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
	return errors.Join(errs...)
}

func validTimeout(d time.Duration) bool {
	return d >= MinTimeout && d <= MaxTimeout && d%time.Millisecond == 0
}
