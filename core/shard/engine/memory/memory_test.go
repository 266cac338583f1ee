package memory_test

import (
	"testing"

	"go.uber.org/goleak"

	"p2pmodel/core/shard/engine"
	"p2pmodel/core/shard/engine/conformance"
	"p2pmodel/core/shard/engine/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	conformance.Run(t, func(*testing.T) conformance.Backend {
		hub := memory.NewHub()
		var all []*memory.Engine
		return conformance.Backend{
			Connect: func(t *testing.T) engine.Engine {
				all = append(all, hub.Connect(t.Name()))
				return all[len(all)-1]
			},
			Restricted: func(t *testing.T) engine.Engine {
				return hub.Connect(t.Name(), memory.Permissions{Call: []string{"allowed.>"}, Serve: []string{"served.>"}, Buckets: []string{}})
			},
			Interrupt: func(*testing.T) func() {
				for _, e := range all {
					e.Disconnect()
				}
				return func() {
					for _, e := range all {
						e.Reconnect()
					}
				}
			},
		}
	})
}
