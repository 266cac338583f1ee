//go:build !linux

package kernel

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"p2pmodel/nat"
	"p2pmodel/sim"
)

// ErrNotLinux is the error of everything on systems that have no namespaces.
var ErrNotLinux = errors.New("they are made of Linux's namespaces, and this is " + runtime.GOOS + ": natlab run --fabric virtual does without")

// Init does nothing here.
func Init() {}

// Enter fails here.
func Enter() error { return fmt.Errorf("labs: %w", ErrNotLinux) }

// Build implements sim.Fabric. It fails here.
func (Fabric) Build(context.Context, *sim.Lab, sim.Options) (sim.Network, error) {
	return nil, fmt.Errorf("build the lab: %w", ErrNotLinux)
}

// Supports says why no NAT of this behaviour can be built: none can, here.
func (Fabric) Supports(nat.Behavior) error { return fmt.Errorf("a NAT: %w", ErrNotLinux) }

// Fits says whether the machine's limits allow a lab: they allow none, here.
func (Fabric) Fits(*sim.Lab) error { return fmt.Errorf("a lab: %w", ErrNotLinux) }

// Doctor says what is missing: Linux.
func Doctor() []Check {
	return []Check{{
		Name: "kernel", State: Missing, Detail: "labs are made of Linux's namespaces, and this is " + runtime.GOOS,
		Fix: "natlab run --fabric virtual runs scenarios here; labs that stand need Linux 5.16 or newer, be it in a virtual machine",
	}}
}
