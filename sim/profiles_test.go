package sim

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"p2pmodel/sim/link"
)

func TestProfilesForPeopleAndPrograms(t *testing.T) {
	var table, text bytes.Buffer
	if err := WriteProfiles(&table); err != nil {
		t.Fatal(err)
	}
	if err := WriteProfilesJSON(&text); err != nil {
		t.Fatal(err)
	}
	var out struct{ Profiles []profileJSON }
	if err := json.Unmarshal(text.Bytes(), &out); err != nil || len(out.Profiles) != len(link.Profiles()) {
		t.Fatalf("%d profiles: %v", len(out.Profiles), err)
	}
	for i, p := range link.Profiles() {
		if got := out.Profiles[i]; got.Name != p.Name || got.Down.Rate != p.Down.Rate || got.Source == "" {
			t.Errorf("JSON has %+v for %s", got, p.Name)
		}
		if !strings.Contains(table.String(), "\n"+p.Name+" ") {
			t.Errorf("the table has no %s", p.Name)
		}
	}
}

// TestProfilesPageIsCurrent: docs/profiles.md is what `make generate` writes.
func TestProfilesPageIsCurrent(t *testing.T) {
	have, err := os.ReadFile("../docs/profiles.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, ProfilesPage()) {
		t.Error("docs/profiles.md is out of date: make generate")
	}
}
