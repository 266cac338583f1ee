//go:build linux

package kernel

import "testing"

// PretendOldKernel makes Close do without the destruction of sockets, as on a
// kernel that cannot do it, until the test ends.
func PretendOldKernel(tb testing.TB) {
	former := dropsOrphans
	dropsOrphans = func() bool { return false }
	tb.Cleanup(func() { dropsOrphans = former })
}

// AtLeast is atLeast, which compares kernel releases.
var AtLeast = atLeast

// Inside runs f on a thread in the host's network.
func (h *Host) Inside(f func() error) (name string, err error) {
	return h.lab.Name, h.node.ns.inside(f)
}
