package virtual

import (
	"context"
	"fmt"
	"time"

	"p2pmodel/nat"
	"p2pmodel/sim"
)

// Fabric builds labs of this process's memory. The zero value is ready. Any number
// of labs can stand at once; each is played by one goroutine at a time.
type Fabric struct{}

var _ sim.Fabric = Fabric{}

// Name implements sim.Fabric.
func (Fabric) Name() string { return "virtual" }

// Now implements sim.Fabric: every lab begins at Epoch.
func (Fabric) Now() time.Time { return Epoch }

// Supports says why no NAT of this behaviour can be built: all can.
func (Fabric) Supports(nat.Behavior) error { return nil }

// Build implements sim.Fabric.
func (Fabric) Build(ctx context.Context, lab *sim.Lab, opt sim.Options) (sim.Network, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("build the lab: %w", err)
	}
	b, err := Prepare(lab)
	if err != nil {
		return nil, fmt.Errorf("build the lab: %w", err)
	}
	n, err := b.Build(Setting{Seed: opt.Seed, Record: !opt.Unrecorded, Drops: true, Connections: opt.Connections, Capture: opt.Capture, Log: opt.Log})
	if err != nil {
		return nil, fmt.Errorf("build the lab: %w", err)
	}
	n.log("the lab stands: %d nodes and %d links", len(n.nodes), len(n.cables))
	return n, nil
}
