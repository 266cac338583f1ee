//go:build !linux

package kernelpath

import (
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"p2pmodel/core/relay"
)

// Path is none on this system.
type Path struct{}

var _ relay.FastPath = (*Path)(nil)

// New says that there is none.
func New(*slog.Logger) (*Path, error) {
	return nil, fmt.Errorf("%w: it takes Linux, not %s", ErrUnavailable, runtime.GOOS)
}

// Shut does nothing.
func (*Path) Shut() {}

// Open does nothing.
func (*Path) Open(time.Time, relay.Flow) {}

// Close does nothing.
func (*Path) Close(relay.Flow) {}

// Passed is nothing.
func (*Path) Passed() (none relay.Passed) { return none }
