package nat_test

import (
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"pgregory.net/rapid"

	"p2pmodel/nat"
)

func TestParseBehavior(t *testing.T) {
	for _, c := range []struct {
		text      string
		canonical string
	}{
		{"mapping=EIM,filtering=ADF,ports=sequential,timeout=5s", "mapping=EIM,filtering=ADF,ports=sequential,timeout=5s"},
		{"timeout=300s", "mapping=EIM,filtering=EIF,ports=preserve,timeout=5m"},
		{"MAPPING = Address-And-Port-Dependent , filtering=endpoint-independent", "mapping=APDM,filtering=EIF,ports=preserve"},
		{"mapping=adm,filtering=apdf,hairpin=External", "mapping=ADM,filtering=APDF,ports=preserve,hairpin=external"},
		{"full-cone", "mapping=EIM,filtering=EIF,ports=preserve"},
		{"restricted-cone", "mapping=EIM,filtering=ADF,ports=preserve"},
		{"port-restricted", "mapping=EIM,filtering=APDF,ports=preserve"},
		{"Symmetric,ports=random", "mapping=APDM,filtering=APDF,ports=random"},
		{"linux,timeout=15s", "mapping=EIM,filtering=APDF,ports=preserve,timeout=15s,stream=2m,refresh=both,kind=masquerade"},
		{"mapping=EIM,range=40000-40099,pooling=arbitrary,size=16,scope=endpoint",
			"mapping=EIM,filtering=EIF,ports=preserve,scope=endpoint,range=40000-40099,pooling=arbitrary,size=16"},
		{"ports=preserve,delta=2,fallback=sequential,rotate=never,parity=ignore", "mapping=EIM,filtering=EIF,ports=preserve,delta=2"},
		{"ports=sequential,delta=2,parity=keep,rotate=10m,stream=180s,timeout-tcp=1h,timeout-icmp=60s,full=evict",
			"mapping=EIM,filtering=EIF,ports=sequential,delta=2,parity=keep,stream=3m,timeout-tcp=1h,timeout-icmp=1m,rotate=10m,full=evict"},
		{"kind=masquerade-random,early-inbound=accept,timeout=30s",
			"mapping=APDM,filtering=APDF,ports=random,timeout=30s,refresh=both,kind=masquerade-random,early-inbound=accept"},
		{"range=1024-65535,size=65536", "mapping=EIM,filtering=EIF,ports=preserve"},
	} {
		b, err := nat.ParseBehavior(c.text)
		if err != nil {
			t.Errorf("ParseBehavior(%q): %v", c.text, err)
			continue
		}
		if got := b.String(); got != c.canonical {
			t.Errorf("ParseBehavior(%q).String() = %q, want %q", c.text, got, c.canonical)
		}
	}
}

func TestParseBehaviorErrorsNameTheAxisAndTheWayOut(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "empty behaviour"},
		{"mapping=EIX", `mapping: "EIX" is not valid; it takes EIM, ADM, APDM (or endpoint-independent`},
		{"mapping=EIF", `mapping: "EIF" is not valid`},
		{"filtring=EIF", `did you mean "filtering"?`},
		{"symetric", `did you mean "symmetric"?`},
		{"mapping=EIM,symmetric", "a preset's name stands first"},
		{"mapping=EIM,mapping=EIM", "mapping is given twice"},
		{"range=2000-1000", "range: \"2000-1000\" is not valid; it takes LOW-HIGH"},
		{"range=0-10", "range:"},
		{"timeout=5", "timeout: \"5\" is not valid; it takes a duration"},
		{"timeout=1ms", "timeout:"},
		{"size=0", "size:"},
		{"refresh=sideways", "it takes outbound, both, inbound"},
		{"ports=random,delta=2", "delta=2 goes with ports=sequential"},
		{"ports=sequential,fallback=random", "fallback=random goes with ports=preserve only"},
		{"early-inbound=accept", "early-inbound=accept goes with kinds of masquerade only"},
		{"kind=masquerade,mapping=ADM", "mapping=ADM contradicts kind=masquerade, which is mapping=EIM"},
		{"ports=block,block=4096,range=2000-3000", "block=4096 does not fit"},
	} {
		_, err := nat.ParseBehavior(c.text)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("ParseBehavior(%q) says %v, want %q in it", c.text, err, c.want)
		}
	}
}

func TestTextGivesExactlyTheAxesAskedFor(t *testing.T) {
	implicit := nat.Behavior{}
	explicit := nat.Behavior{Timeout: nat.DefaultTimeout, Range: nat.DefaultPortRange, TableSize: nat.DefaultTableSize}
	axes := []nat.Axis{nat.AxisHairpin, nat.AxisTimeout, nat.AxisMapping, nat.AxisRange}
	const want = "mapping=EIM,range=1024-65535,timeout=5m,hairpin=none"
	for _, b := range []nat.Behavior{implicit, explicit} {
		if got := b.Text(axes...); got != want {
			t.Errorf("Text(%v) = %q, want %q", axes, got, want)
		}
	}
}

func TestValidateNamesEveryInvalidAxis(t *testing.T) {
	b := nat.Behavior{Mapping: 3, Filtering: 7, Ports: 9, Scope: 2, Pooling: 2, Refresh: 3, Hairpin: 3,
		Range: nat.PortRange{Low: 9, High: 8}, Timeout: time.Microsecond, TableSize: -1,
		Fallback: 2, Delta: -1, Block: 1, Parity: 2, Stream: 1, TimeoutTCP: 1, TimeoutICMP: 1, Rotate: 1, Full: 2, Kind: 4, Early: 2}
	err := b.Validate()
	if err == nil {
		t.Fatal("an invalid behaviour passed")
	}
	for _, a := range nat.Axes() {
		if !strings.Contains(err.Error(), string(a)+": ") {
			t.Errorf("the error does not name %s:\n%v", a, err)
		}
	}
	if err := (nat.Behavior{}).Validate(); err != nil {
		t.Errorf("the zero behaviour is invalid: %v", err)
	}
}

func TestPresets(t *testing.T) {
	seen := make(map[string]bool)
	for _, p := range nat.Presets() {
		if err := p.Behavior.Validate(); err != nil {
			t.Errorf("%s: %v", p.Name, err)
		}
		if len(p.Evidence) == 0 || p.Source == "" || p.Title == "" {
			t.Errorf("%s: a preset without evidence, source or title", p.Name)
		}
		for _, name := range append([]string{p.Name}, p.Aliases...) {
			if seen[name] {
				t.Errorf("%s names two presets", name)
			}
			seen[name] = true
			if got, err := nat.PresetNamed(strings.ToUpper(name)); err != nil || got.Name != p.Name {
				t.Errorf("PresetNamed(%q) = %s, %v, want %s", name, got.Name, err, p.Name)
			}
		}
	}
}

func TestBehaviorFromYAML(t *testing.T) {
	for _, c := range []struct{ yaml, want, err string }{
		{yaml: "nat: symmetric", want: "mapping=APDM,filtering=APDF,ports=sequential"},
		{yaml: "nat: mapping=EIM,filtering=ADF", want: "mapping=EIM,filtering=ADF,ports=preserve"},
		{yaml: "nat:\n  mapping: ADM\n  timeout: 5s\n  size: 16\n", want: "mapping=ADM,filtering=EIF,ports=preserve,timeout=5s,size=16"},
		{yaml: "nat: {preset: symmetric, ports: random, hairpin: none}", want: "mapping=APDM,filtering=APDF,ports=random"},
		{yaml: "nat: {maping: EIM}", err: `did you mean "mapping"?`},
		{yaml: "nat: {mapping: [EIM]}", err: "mapping:"},
		{yaml: "nat: {}", err: "empty behaviour"},
		{yaml: "nat: [EIM]", err: "a behaviour is a text or a mapping"},
		{yaml: "nat: conical", err: "unknown NAT preset"},
	} {
		var doc struct{ NAT nat.Behavior }
		err := yaml.Unmarshal([]byte(c.yaml), &doc)
		switch {
		case c.err != "":
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%q says %v, want %q in it", c.yaml, err, c.err)
			}
		case err != nil:
			t.Errorf("%q: %v", c.yaml, err)
		case doc.NAT.String() != c.want:
			t.Errorf("%q = %s, want %s", c.yaml, doc.NAT, c.want)
		}
	}
	out, err := yaml.Marshal(map[string]nat.Behavior{"nat": {Hairpin: nat.HairpinExternal}})
	if got := strings.TrimSpace(string(out)); err != nil || got != "nat: mapping=EIM,filtering=EIF,ports=preserve,hairpin=external" {
		t.Errorf("a behaviour marshals to %q, %v", got, err)
	}
}

func TestEveryBehaviorReadsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := nat.Behavior{
			Mapping:   nat.Dependence(rapid.IntRange(0, 2).Draw(t, "mapping")),
			Filtering: nat.Dependence(rapid.IntRange(0, 2).Draw(t, "filtering")),
			Scope:     nat.Scope(rapid.IntRange(0, 1).Draw(t, "scope")),
			Ports:     nat.Allocation(rapid.IntRange(0, 3).Draw(t, "ports")),
			Pooling:   nat.Pooling(rapid.IntRange(0, 1).Draw(t, "pooling")),
			Refresh:   nat.Refresh(rapid.IntRange(0, 2).Draw(t, "refresh")),
			Hairpin:   nat.Hairpin(rapid.IntRange(0, 2).Draw(t, "hairpin")),
			TableSize: rapid.IntRange(0, nat.DefaultTableSize-1).Draw(t, "size"),
		}
		if rapid.Bool().Draw(t, "named timeout") {
			b.Timeout = time.Duration(rapid.IntRange(100, 86_400_000).Draw(t, "ms")) * time.Millisecond
		}
		if rapid.Bool().Draw(t, "named range") {
			b.Range.Low = uint16(rapid.IntRange(1025, 65535).Draw(t, "low"))
			b.Range.High = uint16(rapid.IntRange(int(b.Range.Low), 65535).Draw(t, "high"))
		}
		switch b.Ports {
		case nat.Preserve:
			b.Fallback = nat.Fallback(rapid.IntRange(0, 1).Draw(t, "fallback"))
		case nat.Block:
			b.Block = rapid.SampledFrom([]int{0, 16, 4096}).Draw(t, "block")
		case nat.Sequential:
			b.Delta = rapid.SampledFrom([]int{0, 2, nat.MaxDelta}).Draw(t, "delta")
		}
		b.Parity = nat.Parity(rapid.IntRange(0, 1).Draw(t, "parity"))
		b.Full = nat.Full(rapid.IntRange(0, 1).Draw(t, "full"))
		for _, d := range []*time.Duration{&b.Stream, &b.TimeoutTCP, &b.TimeoutICMP, &b.Rotate} {
			*d = rapid.SampledFrom([]time.Duration{0, nat.MinTimeout, nat.DefaultTimeout, nat.MaxTimeout}).Draw(t, "time")
		}
		if rapid.Bool().Draw(t, "masquerade") {
			kind := nat.Kind(rapid.IntRange(1, 3).Draw(t, "kind"))
			if err := b.Set(nat.AxisKind, kind.String()); err != nil {
				t.Fatal(err)
			}
			for _, d := range []*time.Duration{&b.Timeout, &b.Stream, &b.TimeoutTCP, &b.TimeoutICMP} {
				*d = d.Round(time.Second) // what conntrack can count
			}
			b.Early = nat.EarlyInbound(rapid.IntRange(0, 1).Draw(t, "early"))
		}
		if b.Validate() != nil {
			t.Skip("axes that do not go together")
		}
		got, err := nat.ParseBehavior(b.String())
		if err != nil || got != b {
			t.Fatalf("%s reads back as %s, %v", b, got, err)
		}
		if got, err := nat.ParseBehavior(b.Text(nat.Axes()...)); err != nil || got.Resolved() != b.Resolved() {
			t.Fatalf("%s reads back from its full form as %s, %v", b, got, err)
		}
	})
}

func FuzzParseBehavior(f *testing.F) {
	for _, seed := range []string{
		"mapping=EIM,filtering=ADF,ports=sequential,timeout=5s", "symmetric,ports=random", "linux",
		"range=1-65535,size=1,hairpin=internal,pooling=arbitrary,scope=endpoint,refresh=both", "timeout=1h0.5s", "=,=", "mapping",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		b, err := nat.ParseBehavior(text)
		if err != nil {
			return
		}
		if err := b.Validate(); err != nil {
			t.Fatalf("%q was read, yet is invalid: %v", text, err)
		}
		again, err := nat.ParseBehavior(b.String())
		if err != nil || again != b {
			t.Fatalf("%q gives %s, which reads back as %s, %v", text, b, again, err)
		}
	})
}
