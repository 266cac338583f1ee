package virtual

import (
	"context"
	"errors"

	"p2pmodel/sim"
)

// errNoScan is why nothing is scanned here.
var errNoScan = errors.New("scans find what processes listen at, and there are none in virtual time: they need the kernel fabric (--fabric kernel)")

// Scan implements sim.RunningHost: there is nothing to be found.
func (h *Host) Scan(context.Context, sim.Scan) (sim.ScanResult, error) {
	return sim.ScanResult{}, h.errorf("scan", errNoScan)
}
