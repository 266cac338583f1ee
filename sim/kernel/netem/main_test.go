//go:build linux

package netem_test

import (
	"testing"

	"go.uber.org/goleak"

	"p2pmodel/sim/kernel"
)

func TestMain(m *testing.M) {
	kernel.Init() // wires have a process of their own, which is this binary
	goleak.VerifyTestMain(m)
}
