package nat_test

import (
	"bytes"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"p2pmodel/nat"
)

// What the sources say of each product, so that nobody changes it by the way.
func TestPresetsSayWhatTheirSourcesSay(t *testing.T) {
	for name, want := range map[string]string{
		"full-cone":                 "EIM EIF preserve 0s",
		"restricted-cone":           "EIM ADF preserve 0s",
		"port-restricted-cone":      "EIM APDF preserve 0s",
		"symmetric":                 "APDM APDF sequential 0s",
		"linux":                     "EIM APDF preserve 30s 2m0s",
		"openwrt":                   "EIM APDF preserve 30s 2m0s",
		"docker":                    "EIM APDF preserve 30s 2m0s",
		"linux-random":              "APDM APDF random 30s 2m0s",
		"linux-fully-random":        "APDM APDF random 30s 2m0s",
		"linux-early-accept":        "EIM APDF preserve 30s 2m0s",
		"fritzbox":                  "EIM APDF preserve 0s",
		"unifi":                     "EIM APDF preserve 0s",
		"tp-link":                   "EIM APDF preserve 0s",
		"asus":                      "EIM APDF preserve 0s",
		"pfsense":                   "APDM APDF random 30s 1m0s",
		"freebsd-pf":                "APDM APDF random 30s 1m0s",
		"mikrotik":                  "EIM APDF preserve 10s 3m0s",
		"cisco-asa":                 "APDM APDF random 2m0s",
		"juniper-srx":               "APDM APDF random 1m0s",
		"fortigate":                 "APDM APDF random 3m0s",
		"fortigate-permit-any-host": "EIM EIF random 3m0s",
		"palo-alto":                 "APDM APDF random 30s",
		"aws-nat-gateway":           "APDM APDF random 5m50s",
		"gcp-cloud-nat":             "APDM APDF block 30s",
		"azure-nat-gateway":         "APDM APDF random 4m0s",
		"windows-netnat":            "EIM ADF preserve 2m0s",
		"cgn-rfc6888":               "EIM EIF block 5m0s",
		"mobile-strict":             "APDM APDF random 1m5s",
		"mobile-sequential":         "APDM APDF sequential 1m5s",
	} {
		p, err := nat.PresetNamed(name)
		if err != nil {
			t.Error(err)
			continue
		}
		b := p.Behavior
		got := strings.Join([]string{b.Get(nat.AxisMapping), b.Get(nat.AxisFiltering), b.Get(nat.AxisPorts), b.Timeout.String()}, " ")
		if b.Stream != 0 {
			got += " " + b.Stream.String()
		}
		if got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	for name, ok := range map[string]func(nat.Behavior) bool{
		"linux":              func(b nat.Behavior) bool { return b.Kind == nat.KindMasquerade && b.Early == nat.EarlyDrop },
		"linux-random":       func(b nat.Behavior) bool { return b.Kind == nat.KindMasqueradeRandom },
		"linux-fully-random": func(b nat.Behavior) bool { return b.Kind == nat.KindMasqueradeFullyRandom },
		"linux-early-accept": func(b nat.Behavior) bool { return b.Kind == nat.KindMasquerade && b.Early == nat.EarlyAccept },
		"mikrotik":           func(b nat.Behavior) bool { return b.Kind == nat.KindMasquerade && b.TimeoutTCP == 24*time.Hour },
		"gcp-cloud-nat":      func(b nat.Behavior) bool { return b.Block == 64 },
		"windows-netnat":     func(b nat.Behavior) bool { return b.Refresh == nat.RefreshOutbound },
		"palo-alto":          func(b nat.Behavior) bool { return b.Rotate > 0 },
		"cgn-rfc6888": func(b nat.Behavior) bool {
			return b.Hairpin == nat.HairpinExternal && b.Pooling == nat.PoolPaired && b.Block >= 512 && b.Block <= 4096
		},
		"mobile-strict": func(b nat.Behavior) bool { return b.Pooling == nat.PoolArbitrary },
	} {
		if p, _ := nat.PresetNamed(name); !ok(p.Behavior.Resolved()) {
			t.Errorf("%s is %s", name, p.Behavior)
		}
	}
}

// Hairpin is off where nothing is known, what carriers have is a hypothesis, and
// no operator is named.
func TestPresetsClaimNoMoreThanIsKnown(t *testing.T) {
	operators := regexp.MustCompile(`(?i)\b(SKT|SK Telecom|KT|LG ?U\+|Verizon|T-Mobile|Vodafone)\b`)
	for _, p := range nat.Presets() {
		if p.Behavior.Hairpin != nat.HairpinNone && p.Name != "cgn-rfc6888" {
			t.Errorf("%s hairpins", p.Name)
		}
		carrier := strings.HasPrefix(p.Name, "cgn-") || strings.HasPrefix(p.Name, "mobile-")
		if carrier != strings.HasPrefix(p.Note, "A hypothesis") {
			t.Errorf("%s: the note is %q", p.Name, p.Note)
		}
		if found := operators.FindString(p.Title + p.Source + p.Note); found != "" {
			t.Errorf("%s names %s", p.Name, found)
		}
	}
}

func TestPresetsAsText(t *testing.T) {
	var list, one, all bytes.Buffer
	if err := nat.WritePresets(&list); err != nil {
		t.Fatal(err)
	}
	if err := nat.WritePreset(&one, "RouterOS"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"mikrotik: ", "also called routeros", "\n  timeout        10s\n", "\n  kind           masquerade\n", "evidence: V (read in the primary text)", "source: MikroTik", "note: Newer"} {
		if !strings.Contains(one.String(), want) {
			t.Errorf("no %q in\n%s", want, one.String())
		}
	}
	if err := nat.WritePreset(&one, "foo"); err == nil || strings.Contains(err.Error(), "did you mean") {
		t.Errorf("what is near to foo? %v", err)
	}
	if err := nat.WritePreset(&one, "mikrotic"); err == nil || !strings.Contains(err.Error(), `did you mean "mikrotik"?`) {
		t.Errorf("a word that is none: %v", err)
	}
	if err := nat.WritePresetsJSON(&all); err != nil {
		t.Fatal(err)
	}
	var read struct {
		Presets []struct {
			Name, Behavior, Source string
			Axes                   map[string]string
			Evidence               []string
		}
	}
	if err := json.Unmarshal(all.Bytes(), &read); err != nil {
		t.Fatal(err)
	}
	page := string(nat.PresetsPage())
	for i, p := range nat.Presets() {
		if !strings.Contains(list.String(), "\n"+p.Name+" ") || !strings.Contains(page, "\n## "+p.Name+"\n") || !strings.Contains(page, p.Source) {
			t.Errorf("%s is not in the list, or not on the page with its source", p.Name)
		}
		j := read.Presets[i]
		b, err := nat.ParseBehavior(j.Behavior)
		if err != nil || b != p.Behavior || j.Name != p.Name || j.Source != p.Source || j.Axes["mapping"] != p.Behavior.Get(nat.AxisMapping) ||
			!slices.Equal(j.Evidence, func() (all []string) {
				for _, e := range p.Evidence {
					all = append(all, string(e))
				}
				return all
			}()) {
			t.Errorf("%s is %+v in JSON: %v", p.Name, j, err)
		}
	}
}

// A kind decides axes wherever it stands in the text, and what contradicts it is
// an error.
func TestAKindIsContradicted(t *testing.T) {
	for _, text := range []string{"hairpin=external,kind=masquerade", "kind=masquerade,hairpin=external", "linux,ports=random", "linux,hairpin=external", "full-cone,filtering=EIF,kind=masquerade"} {
		if b, err := nat.ParseBehavior(text); err == nil || !strings.Contains(err.Error(), "contradicts kind=masquerade") {
			t.Errorf("%s is %s, %v", text, b, err)
		}
	}
	for _, text := range []string{"linux,timeout=1500ms", "kind=masquerade,stream=100ms"} {
		if _, err := nat.ParseBehavior(text); err == nil || !strings.Contains(err.Error(), "counts whole seconds") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
