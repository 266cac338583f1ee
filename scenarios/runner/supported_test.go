package runner

import (
	"errors"
	"strings"
	"testing"

	"p2pmodel/nat"
	"p2pmodel/scenarios"
)

func TestWhatCannotBeBuiltIsFoundWhereverItStands(t *testing.T) {
	refused := errors.New("refused")
	supported := func(b nat.Behavior) error {
		if b.Full == nat.FullEvict {
			return refused
		}
		return nil
	}
	const evict = `"full-cone,full=evict"`
	for _, c := range []struct{ name, nat, text, want string }{
		{name: "none", nat: "full-cone", text: "expect: {path: direct}\n"},
		{name: "lab", nat: evict, text: "expect: {path: direct}\n", want: "TALE: router nat-a: refused"},
		{name: "phase", nat: "full-cone", want: "TALE: router nat-b: refused",
			text: "phases: [{name: x, do: [{swap: {router: nat-b, nat: " + evict + "}}], expect: {path: direct}}]\n"},
		{name: "timeline", nat: "full-cone", want: "TALE: router nat-b: refused",
			text: "events: [{at: 1s, swap: {router: nat-b, nat: " + evict + "}}]\nexpect: {path: direct}\n"},
		{name: "control", nat: "full-cone", want: `TALE, control "full": router nat-a: refused`,
			text: "expect: {path: direct}\ncontrols: [{name: full, why: it is, nats: {nat-a: " + evict + "}, expect: {path: direct}}]\n"},
	} {
		err := Unsupported(tell(t, c.nat, c.text).s.v.scenario, supported)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !errors.Is(err, refused)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// Programs and processes live in the machine's time; all else runs in any.
func TestWhatNeedsTheKernel(t *testing.T) {
	all, err := scenarios.Catalogue()
	if err != nil {
		t.Fatal(err)
	}
	for _, sc := range all {
		family, _, _ := strings.Cut(sc.ID, "-")
		want := ""
		switch {
		case family == "SH":
			want = "its servers (system:) are processes"
		case sc.ID == "TC-04B":
			want = "its servers are reached over TLS (tls:)"
		case family == "PRG" || sc.ID == "EV-05":
			want = "it runs programs ("
		}
		err := NeedsKernel(sc)
		if want == "" && err != nil || want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", sc.ID, err, want)
		}
	}
}
