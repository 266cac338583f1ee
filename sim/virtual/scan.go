package virtual

import (
	"context"

	"p2pmodel/sim"
)

// Scan implements sim.RunningHost.
func (h *Host) Scan(context.Context, sim.Scan) (sim.ScanResult, error) {
	return sim.ScanResult{}, h.errorf("scan", errLater)
}
