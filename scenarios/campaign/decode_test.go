package campaign

import (
	"bytes"
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"p2pmodel/nat"
)

// Each mistake is said with its place and the way out.
func TestMistakes(t *testing.T) {
	for _, c := range []struct{ name, old, new, says string }{
		{"an unknown key", "title: Homes", "titel: Homes", `small.yaml:2:1: unknown key "titel"; did you mean "title"?`},
		{"a missing source", "    evidence: A\n    source: a test\n    nats:\n      hard", "    evidence: A\n    nats:\n      hard", `"source" is missing`},
		{"an empty source", "source: a test}\nplay", "source: \"\"}\nplay", "source: say where it is from"},
		{"an unknown evidence", "evidence: A", "evidence: X", `unknown evidence "X"`},
		{"an unknown preset", "linux: {weight", "linus: {weight", `unknown NAT preset "linus"; did you mean "linux"?`},
		{"an unknown profile", "cable: {weight", "cabel: {weight", `unknown link profile "cabel"; did you mean "cable"?`},
		{"an unknown key of a router", "{nat: \"sym", "{nat2: \"sym", `unknown key "nat2"; did you mean "nat"?`},
		{"weights that are no whole", "weight: 60", "weight: 50", "the weights sum up to 90; they are percentages of a whole: make it 100"},
		{"NATs that are no whole", "linux: {weight: 90", "linux: {weight: 80", "nats: the weights sum up to 90"},
		{"a weight of nothing", "linux: {weight: 90", "linux: {weight: 0", "want a percentage above 0"},
		{"a room for one", "2: 90", "1: 90", `want a number of players from 2 to 16, got "1"`},
		{"rooms that are no whole", "2: 90", "2: 80", "sizes: the weights sum up to 90"},
		{"a chain too long", "chain: [", "chain: [{nat: linux}, {nat: linux}, {nat: linux}, {nat: linux}, ", "5 routers, want at most 4"},
		{"a router that is nothing", "chain: [", "chain: [{}, ", "has a nat, a firewall or both"},
		{"addresses of no NAT", "chain: [", "chain: [{firewall: udp-blocked, addresses: 2}, ", "only a NAT has external addresses"},
		{"a firewall with lists", "chain: [", "chain: [{firewall: {inbound: replies, outbound: none}}, ", "and there is none here"},
		{"a home without a router", "linux: {weight: 90", "linux: {chain: [], weight: 90", "a public host (an empty chain) has no router to share"},
		{"a band of nothing", "  home: {low", "  house: {low", `no network "house"; known: home, phone`},
		{"a band of no NAT", "home/symmetric:", "home/symetric:", `network home has no "symetric"; did you mean "symmetric"?`},
		{"a band beside it", "home: {low: 30, high: 90", "home: {low: 70, high: 90", "home: the band from 70 to 90 does not hold what the file has, 60"},
		{"a band of what is whole", "home/symmetric:", "phone/hard:", "there is nothing beside it that could have the rest"},
		{"a band of no probability", "home/udp-blocked:", "phone/udp-blocked:", "the network has no udp-blocked"},
		{"an unknown figure", "figure: dcutr-2025", "figure: dcutr", `unknown figure "dcutr"`},
		{"a figure between one", "[phone, home]", "[phone]", "name the two networks"},
		{"a figure between strangers", "[phone, home]", "[phone, hom]", `no network "hom"; did you mean "home"?`},
		{"a short session", "session: 10m", "session: 10s", "want 1m0s to 24h0m0s, got 10s"},
		{"a rate beyond", "rate: 50", "rate: 5000", "5000 is not between 1 and 1000"},
	} {
		text := strings.Replace(small, c.old, c.new, 1)
		if text == small {
			t.Errorf("%s: nothing was changed", c.name)
			continue
		}
		if _, err := Parse("small.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v\nwant %q", c.name, err, c.says)
		}
	}
	if _, err := Parse("empty.yaml", nil); err == nil || !strings.Contains(err.Error(), `"networks" is missing`) {
		t.Errorf("an empty file: %v", err)
	}
}

func TestFind(t *testing.T) {
	if p, err := Find("Mixed"); err != nil || p.ID != "mixed" {
		t.Errorf("Mixed: %v", err)
	}
	if p, err := Find("populations/mixed.yaml"); err != nil || p.ID != "mixed" {
		t.Errorf("a file: %v", err)
	}
	for name, says := range map[string]string{
		"mixde":         `did you mean "mixed"?`,
		"./none.yaml":   "there is no file ./none.yaml",
		"./populations": "not a regular file",
	} {
		if _, err := Find(name); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", name, err, says)
		}
	}
}

func compiled(t *testing.T) *jsonschema.Schema {
	t.Helper()
	text, err := json.Marshal(Schema())
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("population.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("population.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func validate(t *testing.T, s *jsonschema.Schema, text string) error {
	t.Helper()
	converted, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(converted))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(v)
}

// The schema takes what the decoder takes, and has the same keys.
func TestPopulationsFollowTheSchema(t *testing.T) {
	s := compiled(t)
	all, err := Catalogue()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range append(all, smallPopulation(t)) {
		if err := validate(t, s, string(p.text)); err != nil {
			t.Errorf("%s: %v", p.File, err)
		}
	}
	for _, key := range []string{"title", "weight", "nats", "evidence", "sizes", "rate", "session", "per-gb", "low", "figure", "why", "share"} {
		if validate(t, s, strings.Replace(small, key+":", key+"x:", 1)) == nil {
			t.Errorf("the schema takes the key %sx", key)
		}
	}
}

// Every population that ships says of each weight where it is from, is called as its
// file, and is bounded; and what the model alone says of it adds up.
func TestTheCatalogueIsSound(t *testing.T) {
	all, err := Catalogue()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 5 {
		t.Errorf("%d populations, want 5", len(all))
	}
	for _, p := range all {
		if want := p.ID + ".yaml"; filepath.Base(p.File) != want {
			t.Errorf("%s is in %s", p.ID, p.File)
		}
		if len(p.Sensitivity) == 0 || len(p.Compare) == 0 || p.Description == "" {
			t.Errorf("%s has no bands, no figures or no description", p.ID)
		}
		derived := false
		for _, c := range p.Compare {
			derived = derived || c.Derived
		}
		if !derived {
			t.Errorf("%s does not say of which figure its weights are", p.ID)
		}
		theory, err := p.theory(verdicts{})
		if err != nil {
			t.Fatal(err)
		}
		if sum := theory.Direct + theory.Relayed + theory.Failed; sum < 1-1e-9 || sum > 1+1e-9 {
			t.Errorf("%s: the model's shares sum up to %v", p.ID, sum)
		}
	}
}

// The mix of the field study is the one of which 70 % of pairs are direct, and says
// that this proves nothing.
func TestTheFieldStudyIsDerived(t *testing.T) {
	p, err := Find("field-study")
	if err != nil {
		t.Fatal(err)
	}
	theory, err := p.theory(verdicts{})
	if err != nil || theory.Direct < 0.699 || theory.Direct > 0.701 {
		t.Errorf("%v direct, %v", theory.Direct, err)
	}
	if c := p.Compare[0]; c.Figure != "dcutr-2025" || !c.Derived {
		t.Errorf("%+v", c)
	}
	for _, n := range p.Networks[0].NATs {
		if n.Evidence != nat.EvidenceDerived {
			t.Errorf("%s has evidence %s", n.Name, n.Evidence)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(small))
	all, err := Catalogue()
	if err != nil {
		f.Fatal(err)
	}
	for _, p := range all {
		f.Add(p.text)
	}
	f.Add([]byte("networks: {a: {nats: {linux: {weight: 1e309}}}}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := Parse("fuzz.yaml", text)
		if err != nil {
			return
		}
		d := newDice(p)
		for i := range uint64(20) {
			if tr := d.trial(1, i); len(tr.players) < 2 {
				t.Errorf("trial %d has %d players", i, len(tr.players))
			}
		}
	})
}

func FuzzRead(f *testing.F) {
	r, err := (&Campaign{Population: smallPopulation(f), Trials: 300, stage: stageForetold}).Run(context.Background())
	if err != nil {
		f.Fatal(err)
	}
	var text bytes.Buffer
	if err := r.WriteJSON(&text); err != nil {
		f.Fatal(err)
	}
	f.Add(text.Bytes())
	f.Add([]byte(`{"schema":1,"shard":{"index":0,"of":1}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := Read(bytes.NewReader(text))
		if err != nil {
			return
		}
		if _, err := Merge([]string{"a"}, []*Result{r}); err == nil && !r.Whole() {
			t.Error("a part alone is taken for the whole")
		}
	})
}
