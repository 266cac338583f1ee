package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/pflag"

	"p2pmodel/nat"
	"p2pmodel/scenarios"
	"p2pmodel/scenarios/runner"
	"p2pmodel/sim"
	"p2pmodel/sim/document"
	"p2pmodel/sim/kernel"
	"p2pmodel/sim/virtual"
)

// The fabrics, as --fabric names them.
var (
	kernelFabric  = kernel.Fabric{}.Name()
	virtualFabric = virtual.Fabric{}.Name()
)

// fabricName is the value of a flag --fabric.
type fabricName string

func (n *fabricName) String() string { return string(*n) }

// Type implements pflag.Value.
func (*fabricName) Type() string { return "fabric" }

// Set implements pflag.Value.
func (n *fabricName) Set(text string) error {
	if text != kernelFabric && text != virtualFabric {
		return fmt.Errorf("it is %s or %s%s", kernelFabric, virtualFabric, document.Suggest(text, []string{kernelFabric, virtualFabric}))
	}
	*n = fabricName(text)
	return nil
}

// defaultFabric is the kernel's where there is one: nothing is worth more than that.
func defaultFabric() fabricName {
	if runtime.GOOS == "linux" {
		return fabricName(kernelFabric)
	}
	return fabricName(virtualFabric)
}

// fabricFlag adds the flag that chooses what labs are built on.
func fabricFlag(fl *pflag.FlagSet, to *fabricName) {
	*to = defaultFabric()
	fl.Var(to, "fabric", "what labs are built on: kernel (namespaces of this machine), or virtual (virtual time in this process, no root)")
}

// virtual reports whether nothing of the machine is needed.
func (n fabricName) virtual() bool { return string(n) == virtualFabric }

// ofTime says of a duration which time it is of, where that is not this machine's.
func (n fabricName) ofTime() string {
	if n.virtual() {
		return " of virtual time"
	}
	return ""
}

// fabric is what commands need of one.
type fabric interface {
	sim.Fabric
	// Supports says why no NAT of a behaviour can be built.
	Supports(nat.Behavior) error
}

// fits says why a lab does not fit the machine. In virtual time it takes nothing of
// it but memory.
func (n fabricName) fits(lab *sim.Lab) error {
	if n.virtual() {
		return nil
	}
	return kernel.Fabric{}.Fits(lab)
}

// on gives the fabric; links are what carries them on the kernel's.
func (n fabricName) on(links kernel.Backend) fabric {
	if n.virtual() {
		return virtual.Fabric{}
	}
	return kernel.Fabric{Links: links}
}

// enter makes this process able to build labs.
func (n fabricName) enter() error {
	if n.virtual() {
		return nil
	}
	if err := kernel.Enter(); err != nil {
		return fmt.Errorf("%w\nwithout any right, and on any system: --fabric virtual", err)
	}
	return nil
}

// runnable says why a scenario cannot be run on the fabric.
func (n fabricName) runnable(sc *scenarios.Scenario) error {
	if n.virtual() {
		return runner.NeedsKernel(sc)
	}
	return nil
}
