//go:build linux

package wire_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"p2pmodel/sim/kernel/wire"
)

// processName is argument 0 of this binary when it is a process of wires.
const processName = "wire-test-process"

func TestMain(m *testing.M) {
	if os.Args[0] == processName {
		os.Exit(wire.Serve())
	}
	goleak.VerifyTestMain(m)
}
