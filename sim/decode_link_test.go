package sim

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"p2pmodel/sim/link"
)

// testTrace is a trace that labs of tests name.
const testTrace = "testdata/lte.trace"

func readTestTrace() link.Trace {
	text, err := os.ReadFile(testTrace)
	if err != nil {
		panic(err)
	}
	t, err := link.ParseTrace(testTrace, text)
	if err != nil {
		panic(err)
	}
	return t
}

// TestLinksAsDecoded has every key that a link may have, and what people see of it.
func TestLinksAsDecoded(t *testing.T) {
	const ms = time.Millisecond
	umts, _ := link.ProfileNamed("3g")
	lte, _ := link.ProfileNamed("4g")
	lossy := lte.Up
	lossy.Loss, lossy.MTU = 0.03, 1400
	silent := lossy
	silent.MTU, silent.Blackhole = 1280, true
	all := link.Impairment{
		Delay: 10 * ms, Jitter: 3 * ms, Correlation: 0.25, Distribution: link.Normal,
		Wander:   link.Wander{Delay: 5 * ms, Every: 15 * time.Second},
		Overtake: link.Overtake{Share: 0.05, Gap: 5, Correlation: 0.5},
		Burst:    link.Burst{P: 0.01, R: 0.25, Bad: 0.9, Good: 0.001}, Duplicate: 0.01, Corrupt: 0.001,
	}
	other := all
	other.Overtake, other.Burst, other.MTU = link.Overtake{Share: 0.02}, link.Bursts(0.2, 4), 576
	other.Trace = readTestTrace()
	for _, test := range []struct {
		name, text string
		want       Link
		up, down   string
	}{
		{"a profile", `3g`, Link{Up: umts.Up, Down: umts.Down, Profile: "3g"},
			"100ms ±30ms, 3% loss, 2Mbit", "100ms ±30ms, 3% loss, 2Mbit"},
		{"a profile, in long", `{profile: 3g}`, Link{Up: umts.Up, Down: umts.Down, Profile: "3g"},
			"100ms ±30ms, 3% loss, 2Mbit", "100ms ±30ms, 3% loss, 2Mbit"},
		{"keys over a profile", `{profile: 4g, loss: 3%, mtu: 1400, up: {mtu: {size: 1280, icmp: false}}}`, Link{Up: silent, Down: lossy},
			"30ms ±10ms, 3% loss, 50Mbit, MTU 1280 in silence", "30ms ±10ms, 3% loss, 50Mbit, MTU 1400"},
		{"everything", `
      delay: 10ms
      jitter: 3ms
      jitter-correlation: 25%
      distribution: normal
      wander: {delay: 5ms, every: 15s}
      overtake: {share: 5%, gap: 5, correlation: 50%}
      burst: {p: 1%, r: 25%, bad: 90%, good: 0.1%}
      duplicate: 1%
      corrupt: 0.1%
      down: {overtake: 2%, burst: {loss: 20%, length: 4}, trace: testdata/lte.trace, mtu: {size: 576}}`, Link{Up: all, Down: other},
			"10ms ±3ms normal correlated 25%, up to 5ms more each 15s, 5% overtake, 3.56% loss in bursts of 4, 1% doubled, 0.1% corrupted",
			"10ms ±3ms normal correlated 25%, up to 5ms more each 15s, 2% overtake, 20% loss in bursts of 4, 1% doubled, 0.1% corrupted, trace testdata/lte.trace, MTU 576"},
		{"bursts instead of a profile's loss, a trace instead of its rate", `{profile: 4g, burst: {loss: 1%, length: 3}, trace: testdata/lte.trace}`,
			Link{Up: instead(lte.Up), Down: instead(lte.Down)},
			"30ms ±10ms, 1% loss in bursts of 3, trace testdata/lte.trace", "30ms ±10ms, 1% loss in bursts of 3, trace testdata/lte.trace"},
	} {
		t.Run(test.name, func(t *testing.T) {
			lab, err := ParseLab("lab.yaml", []byte("lab:\n  hosts: {a: }\n  links:\n    a: "+test.text+"\n"))
			if err != nil {
				t.Fatal(err)
			}
			test.want.Node = "a"
			if got := lab.Links[0]; !reflect.DeepEqual(got, test.want) {
				t.Errorf("decoded:\n%+v\nwant:\n%+v", got, test.want)
			}
			if up, down := DescribeImpairment(lab.Links[0].Up), DescribeImpairment(lab.Links[0].Down); up != test.up || down != test.down {
				t.Errorf("shown as\n%s\n%s\nwant\n%s\n%s", up, down, test.up, test.down)
			}
		})
	}
}

func instead(i link.Impairment) link.Impairment {
	i.Loss, i.Burst, i.Rate, i.Trace = 0, link.Bursts(0.01, 3), 0, readTestTrace()
	return i
}

// TestTracesAreFoundBesideTheirFile: a lab may be read from anywhere.
func TestTracesAreFoundBesideTheirFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "slow.trace"), []byte("100\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	lab, err := ParseLab(filepath.Join(dir, "lab.yaml"), []byte("lab: {hosts: {a: }, links: {a: {trace: slow.trace}}}"))
	if err != nil {
		t.Fatal(err)
	}
	if got := lab.Links[0].Up.Trace; got.Rate() != 120_000 || got.File != "slow.trace" {
		t.Errorf("%s has %d bit/s, want slow.trace with 120000", got.File, got.Rate())
	}
}
