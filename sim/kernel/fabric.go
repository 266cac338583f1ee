package kernel

import (
	"time"

	"p2pmodel/sim"
)

// Fabric builds labs out of network namespaces. The zero value is ready. Any
// number of labs can stand at once, in one process and on one machine: nothing
// of a lab has a name outside of it.
//
// It needs the privileges of root over a network, be it as root or after Enter.
type Fabric struct {
	// Links is what carries the links that labs declare; "" is WireLinks.
	Links Backend
}

var _ sim.Fabric = Fabric{}

// Name implements sim.Fabric.
func (Fabric) Name() string { return "kernel" }

// Now implements sim.Fabric.
func (Fabric) Now() time.Time { return time.Now() }
