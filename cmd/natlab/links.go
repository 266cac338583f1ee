package main

import (
	"github.com/spf13/pflag"

	"p2pmodel/sim/kernel"
)

// linksFlag adds the flag that chooses what carries links.
func linksFlag(fl *pflag.FlagSet, to *kernel.Backend) {
	fl.Var(to, "links", "what carries links: our wire, which has seeds and tells each drop; the kernel's netem, where it has it; or auto")
}
