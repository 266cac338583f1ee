package relay

import (
	"bytes"
	"strings"
	"testing"

	"p2pmodel/ci/bench/measure"
)

// rounds are samples with these nanoseconds for each datagram.
func rounds(ns ...float64) (all []Sample) {
	for _, n := range ns {
		all = append(all, Sample{Rate: 1e9 / n, Nanoseconds: n, P50: 20})
	}
	return all
}

func TestPart(t *testing.T) {
	turns, deep := Load{Size: 120, Burst: 1}, Load{Size: 120, Burst: 8, Down: true}
	limited := rounds(800)
	limited[0].LoadLimited = true
	r := Result{
		Flows: 32, Rounds: 1, Machine: measure.Machine{Processor: "any", Versions: map[string]string{"coturn": "4.6.1"}},
		Cells: []Cell{
			{System: Ours, Load: turns, Samples: rounds(4000)}, {System: Coturn, Load: turns, Samples: rounds(6000)}, {System: GSOName, Load: turns, Samples: rounds(3500)},
			{System: Ours, Load: deep, Samples: limited}, {System: Coturn, Load: deep, Samples: rounds(8000)},
		},
		Memory: []Memory{{System: Ours, Allocations: 10000, Before: 20e6, With: 56e6}},
	}
	part := r.Part()
	var text bytes.Buffer
	if err := part.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"coturn 4.6.1", "120 bytes from a peer to clients, 8 datagrams of a flow after another", "1.25 M/s or better", "10.00", "3.60 kB",
		"✓ p2pmodel: 1.50 × as good as coturn", "✗ p2pmodel: 0.87 × as good as forwarder offloaded", "✓ p2pmodel: 1.00 × as good as coturn",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q:\n%s", want, text.String())
		}
	}
	r.Cells = append(r.Cells, Cell{System: Kernel, Load: turns, Samples: rounds(1500)})
	if part = r.Part(); part.Name != "relay-kernel" || part.Comparisons[0].Goals[0].Times != 3 {
		t.Errorf("with the kernel's fast path: %s, %+v", part.Name, part.Comparisons[0].Goals)
	}
}
