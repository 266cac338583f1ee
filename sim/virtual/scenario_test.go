package virtual_test

import (
	"context"
	"testing"
	"time"

	"p2pmodel/nat"
	"p2pmodel/nat/certify"
	"p2pmodel/scenarios"
	"p2pmodel/scenarios/matchers"
	"p2pmodel/scenarios/runner"
	"p2pmodel/sim"
	"p2pmodel/sim/virtual"
)

// trusting is the fabric without certifications.
type trusting struct{ virtual.Fabric }

func (f trusting) Build(ctx context.Context, lab *sim.Lab, opt sim.Options) (sim.Network, error) {
	n, err := f.Fabric.Build(ctx, lab, opt)
	return trustingNetwork{n}, err
}

type trustingNetwork struct{ sim.Network }

func (n trustingNetwork) Router(name string) (sim.RunningRouter, error) {
	r, err := n.Network.Router(name)
	return trustingRouter{r}, err
}

type trustingRouter struct{ sim.RunningRouter }

func (r trustingRouter) Measure(_ context.Context, opt certify.Options) (certify.Result, error) {
	b, _ := r.Behavior()
	axes := append([]nat.Axis{nat.AxisMapping, nat.AxisFiltering, nat.AxisPorts}, opt.Times(b)...)
	text := b.Text(axes...)
	return certify.Result{Declared: text, Measured: text}, nil
}

func TestScenarios(t *testing.T) {
	for _, id := range []string{"TC-01", "TC-02", "TC-03", "TC-04", "TC-05", "TC-07", "EV-01", "EV-02", "EV-04", "FW-01", "FW-02", "FW-03", "MESH-8"} {
		t.Run(id, func(t *testing.T) {
			sc, err := scenarios.Find(id)
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			r := &runner.Runner{Fabric: trusting{}, Seed: 1}
			res, err := r.Run(t.Context(), sc)
			if err != nil {
				t.Fatal(err)
			}
			if res.Verdict != scenarios.Expected {
				t.Error(matchers.Evidence(res))
			}
			t.Logf("%v %+v", time.Since(began), res.Observed)
		})
	}
}
