package certify_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"p2pmodel/nat"
	"p2pmodel/nat/certify"
)

func behavior(t *testing.T, text string) nat.Behavior {
	t.Helper()
	b, err := nat.ParseBehavior(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// everyBehavior gives all mappings, filterings, allocations and hairpins.
func everyBehavior() []nat.Behavior {
	var all []nat.Behavior
	for m := nat.EndpointIndependent; m <= nat.AddressAndPortDependent; m++ {
		for f := nat.EndpointIndependent; f <= nat.AddressAndPortDependent; f++ {
			for p := nat.Preserve; p <= nat.Random; p++ {
				for h := nat.HairpinNone; h <= nat.HairpinExternal; h++ {
					all = append(all, nat.Behavior{Mapping: m, Filtering: f, Ports: p, Hairpin: h})
				}
			}
		}
	}
	return all
}

func evidence(r certify.Result) string {
	var b strings.Builder
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "%s: declared %s, measured %s\n  %s\n", f.Axis, f.Declared, f.Measured, strings.Join(f.Evidence, "\n  "))
	}
	return b.String()
}

// hairpinTellable is false where the filter eats every hairpinned datagram and
// no mapping can be foretold.
func hairpinTellable(b nat.Behavior) bool {
	return b.Mapping == nat.EndpointIndependent || b.Filtering == nat.EndpointIndependent || b.Ports != nat.Random ||
		b.Scope == nat.ScopeEndpoint && b.Filtering == nat.AddressDependent && b.Hairpin == nat.HairpinExternal
}

func TestTheTruthIsMeasured(t *testing.T) {
	for _, b := range everyBehavior() {
		for _, axis := range []func(b *nat.Behavior){
			func(*nat.Behavior) {},
			func(b *nat.Behavior) { b.Scope = nat.ScopeEndpoint },
			func(b *nat.Behavior) { b.Timeout = 2 * time.Second },
			func(b *nat.Behavior) { b.Timeout = 200 * time.Millisecond },
			func(b *nat.Behavior) { b.Timeout, b.Refresh = 30*time.Second, nat.RefreshBoth },
			func(b *nat.Behavior) { b.Range = nat.PortRange{Low: 40000, High: 40099} },
		} {
			b := b
			axis(&b)
			r := measure(t, b, b, 1)
			if !r.OK() {
				t.Errorf("declared %s\nmeasured %s\n%s", r.Declared, r.Measured, evidence(r))
			}
			for _, a := range []nat.Axis{nat.AxisMapping, nat.AxisFiltering, nat.AxisPorts, nat.AxisHairpin} {
				told := strings.Contains(r.Declared, string(a)+"=")
				if wanted := a != nat.AxisHairpin || hairpinTellable(b) || b.Hairpin == nat.HairpinInternal; told != wanted {
					t.Errorf("%s: %s is part of the result: %v, want %v", b, a, told, wanted)
				}
			}
			if b.Timeout != 0 && !strings.Contains(r.Declared, "timeout=") || b.Timeout != 0 && !strings.Contains(r.Declared, "refresh=") {
				t.Errorf("%s: timeout or refresh was not measured: %s", b, r.Declared)
			}
			if b.Timeout == 0 && r.Duration > 1500*time.Millisecond {
				t.Errorf("%s took %v, want at most 1.5 s", b, r.Duration)
			}
			if limit := 3*time.Second/2 + b.Timeout*13/10; b.Timeout != 0 && r.Duration > limit {
				t.Errorf("%s took %v, want at most %v", b, r.Duration, limit)
			}
		}
	}
}

// TestEverySingleLieIsFoundOut changes one axis of the declaration at a time:
// the measured text differs in that axis and in no other.
func TestEverySingleLieIsFoundOut(t *testing.T) {
	for _, real := range everyBehavior() {
		for _, axis := range []nat.Axis{nat.AxisMapping, nat.AxisFiltering, nat.AxisPorts, nat.AxisHairpin} {
			for _, value := range axis.Values() {
				declared := real
				if err := declared.Set(axis, value); err != nil {
					t.Fatal(err)
				}
				if declared == real || axis == nat.AxisHairpin && !hairpinTellable(real) &&
					real.Hairpin != nat.HairpinInternal && declared.Hairpin != nat.HairpinInternal {
					continue
				}
				checkLie(t, real, declared, axis, 1)
			}
		}
	}
}

func TestLiesOfTheOtherAxes(t *testing.T) {
	for _, c := range []struct {
		real, declared string
		axis           nat.Axis
		addresses      int
	}{
		{"symmetric", "symmetric,scope=endpoint", nat.AxisScope, 1},
		{"symmetric,scope=endpoint", "symmetric", nat.AxisScope, 1},
		{"port-restricted,timeout=2s", "port-restricted,timeout=4s", nat.AxisTimeout, 1},
		{"port-restricted,timeout=4s", "port-restricted,timeout=2s", nat.AxisTimeout, 1},
		{"port-restricted,timeout=2200ms", "port-restricted,timeout=2s", nat.AxisTimeout, 1},
		{"port-restricted,timeout=1900ms", "port-restricted,timeout=2s", nat.AxisTimeout, 1},
		{"port-restricted,timeout=60s", "port-restricted,timeout=2s", nat.AxisTimeout, 1},
		{"port-restricted,timeout=200ms", "port-restricted,timeout=5s", nat.AxisTimeout, 1},
		{"port-restricted,timeout=2s,refresh=both", "port-restricted,timeout=4s,refresh=both", nat.AxisTimeout, 1},
		{"port-restricted,timeout=5s,refresh=both", "port-restricted,timeout=5s", nat.AxisRefresh, 1},
		{"symmetric,timeout=5s", "symmetric,timeout=5s,refresh=both", nat.AxisRefresh, 1},
		{"port-restricted,pooling=arbitrary", "port-restricted", nat.AxisPooling, 2},
		{"port-restricted", "port-restricted,pooling=arbitrary", nat.AxisPooling, 2},
		{"symmetric,ports=random,pooling=arbitrary", "symmetric,ports=random", nat.AxisPooling, 2},
		{"port-restricted,range=40000-49999", "port-restricted", nat.AxisRange, 1},
		{"port-restricted", "port-restricted,range=40000-49999", nat.AxisRange, 1},
		{"port-restricted,range=40000-40099", "port-restricted,range=50000-50099", nat.AxisRange, 1},
		{"symmetric", "symmetric,range=40000-49999", nat.AxisRange, 1},
		{"symmetric,ports=random,range=40000-40999", "symmetric,ports=random", nat.AxisRange, 1},
		{"symmetric,ports=random", "symmetric,ports=random,range=40000-40999", nat.AxisRange, 1},
	} {
		checkLie(t, behavior(t, c.real), behavior(t, c.declared), c.axis, c.addresses)
	}
}

func checkLie(t *testing.T, real, declared nat.Behavior, axis nat.Axis, addresses int) {
	t.Helper()
	r := measure(t, real, declared, addresses)
	var wrong []string
	for _, f := range r.Findings {
		if f.Declared != f.Measured {
			wrong = append(wrong, f.Axis)
		}
	}
	if r.OK() || len(wrong) != 1 || wrong[0] != string(axis) {
		t.Errorf("%s claims to be %s: found out in %v, want %s alone\n%s", real, declared, wrong, axis, evidence(r))
		return
	}
	undecided := strings.Contains(r.Measured, "hairpin=none-or-external")
	if undecided && (hairpinTellable(real) || real.Hairpin == nat.HairpinInternal) {
		t.Errorf("%s claims to be %s: %s could have been told", real, declared, axis)
	}
	if values := axis.Values(); !undecided && len(values) > 1 && r.Behavior.Get(axis) != real.Get(axis) {
		t.Errorf("%s claims to be %s: measured %s=%s", real, declared, axis, r.Behavior.Get(axis))
	}
}

func TestPoolingIsMeasuredWhereThereAreSeveralAddresses(t *testing.T) {
	for _, b := range everyBehavior() {
		for _, pooling := range []nat.Pooling{nat.PoolPaired, nat.PoolArbitrary} {
			b.Pooling = pooling
			r := measure(t, b, b, 2)
			if !r.OK() || !strings.Contains(r.Measured, "pooling="+pooling.String()) {
				t.Errorf("declared %s\nmeasured %s\n%s", r.Declared, r.Measured, evidence(r))
			}
		}
	}
}

func TestLossAndABusyMachineDoNotFalsify(t *testing.T) {
	for _, text := range []string{
		"full-cone", "restricted-cone,hairpin=external", "port-restricted-cone,ports=random", "mapping=ADM,filtering=ADF,hairpin=internal",
		"mapping=APDM,filtering=EIF,ports=sequential,hairpin=external", "port-restricted,timeout=5s", "port-restricted,timeout=5s,refresh=both",
	} {
		b := behavior(t, text)
		for seed := range uint64(20) {
			w := newWorld(t, b, externalAddrs[:1])
			w.loss, w.late = 0.01, 5*time.Millisecond
			r := w.certify(t, config(b, externalAddrs[:1], seed))
			if !r.OK() {
				t.Errorf("seed %d: declared %s\nmeasured %s\n%s", seed, r.Declared, r.Measured, evidence(r))
			}
		}
	}
}

// A machine that stands still makes probes late, and a late probe of a short
// timeout says little. It must not say something wrong, and another round must
// make up for it.
func TestAMachineThatStandsStillDoesNotFalsifyTimeouts(t *testing.T) {
	for _, text := range []string{"port-restricted,timeout=2s", "port-restricted,timeout=1s,refresh=both", "symmetric,timeout=2s"} {
		b := behavior(t, text)
		for seed := range uint64(50) {
			w := newWorld(t, b, externalAddrs[:1])
			w.stall = 250 * time.Millisecond
			w.rand = rand.New(rand.NewPCG(seed, 2))
			if r := w.certify(t, config(b, externalAddrs[:1], seed)); !r.OK() || !strings.Contains(r.Measured, "timeout=") {
				t.Errorf("%s, seed %d: declared %s\nmeasured %s\n%s", text, seed, r.Declared, r.Measured, evidence(r))
			}
		}
	}
}

func TestOneInsideHostIsEnoughForMostAxes(t *testing.T) {
	for _, b := range everyBehavior() {
		if b.Hairpin == nat.HairpinInternal {
			continue // a host drops what claims to come from itself
		}
		cfg := config(b, externalAddrs[:1], 5)
		cfg.Inside = cfg.Inside[:1]
		if r := newWorld(t, b, externalAddrs[:1]).certify(t, cfg); !r.OK() {
			t.Errorf("declared %s\nmeasured %s\n%s", r.Declared, r.Measured, evidence(r))
		}
	}
}

func TestADeadRouterIsNoBehaviour(t *testing.T) {
	b := behavior(t, "full-cone,timeout=1s")
	w := newWorld(t, b, externalAddrs[:1])
	w.loss = 1
	r := w.certify(t, config(b, externalAddrs[:1], 1))
	const want = "mapping=unreached,filtering=unreached,ports=unreached,timeout=unreached,hairpin=unreached"
	if r.OK() || r.Err != nil || r.Measured != want {
		t.Errorf("measured %s, %v, want %s", r.Measured, r.Err, want)
	}
}

func TestASocketThatCannotBeOpenedIsTheLaboratorysFault(t *testing.T) {
	b := behavior(t, "full-cone")
	w := newWorld(t, b, externalAddrs[:1])
	w.busy = []netip.AddrPort{netip.AddrPortFrom(outsideAddrs[1], 3479)}
	r := w.certify(t, config(b, externalAddrs[:1], 1))
	if r.Err == nil || r.OK() || !strings.Contains(r.Err.Error(), "198.18.0.2:3479") {
		t.Errorf("the error is %v, want one that names the socket", r.Err)
	}
}

func TestTheSameSeedMeasuresTheSame(t *testing.T) {
	b := behavior(t, "symmetric,ports=random,timeout=1s")
	if a, b := measure(t, b, b, 1), measure(t, b, b, 1); evidence(a) != evidence(b) {
		t.Errorf("two runs with one seed differ:\n%s\n%s", evidence(a), evidence(b))
	}
}

func TestNewSaysWhatIsMissing(t *testing.T) {
	for _, c := range []struct {
		change func(c *certify.Config)
		want   string
	}{
		{func(c *certify.Config) { c.Declared.Mapping = 9 }, "mapping:"},
		{func(c *certify.Config) { c.Rand = nil }, "Rand"},
		{func(c *certify.Config) { c.Inside = nil }, "inside"},
		{func(c *certify.Config) { c.Outside[1] = c.Outside[0] }, "two different outside addresses"},
		{func(c *certify.Config) { c.Ports = [2]uint16{9, 9} }, "two different outside ports"},
		{func(c *certify.Config) { c.Declared.Range = nat.PortRange{Low: 5, High: 9} }, "larger ones"},
		{func(c *certify.Config) { c.Declared.Ports, c.Declared.Block = nat.Block, 32 }, "allow 32"},
		{func(c *certify.Config) { c.Patience = 48 * time.Hour }, "patience"},
	} {
		cfg := config(nat.Behavior{}, externalAddrs[:1], 1)
		c.change(&cfg)
		if _, err := certify.New(cfg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("New says %v, want %q in it", err, c.want)
		}
	}
}
