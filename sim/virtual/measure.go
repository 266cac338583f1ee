package virtual

import (
	"context"

	"p2pmodel/sim"
)

// Measure implements sim.Network.
func (n *Network) Measure(context.Context) ([]sim.Measurement, error) { return nil, nil }
