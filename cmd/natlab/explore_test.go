package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The command end to end: nothing found, bad input, and a file as it stands.
func TestExplore(t *testing.T) {
	status, out, _ := call(t.Context(), "explore", "TC-01", "--runs", "3", "--seed", "5", "--json")
	var r struct {
		Scenario, Fabric   string
		Seed, Runs, Broken int
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil || status != 0 || r.Scenario != "TC-01" || r.Fabric != "virtual" || r.Seed != 5 || r.Runs != 3 || r.Broken != 0 {
		t.Errorf("status %d, %v: %s", status, err, out)
	}
	if status, out, _ := call(t.Context(), "explore", "--as-is", "EV-01"); status != 0 || !strings.Contains(out, "EV-01, seed 1: no invariant was broken") {
		t.Errorf("as it stands: status %d: %s", status, out)
	}
	empty := filepath.Join(t.TempDir(), "cases")
	if status, _, said := call(t.Context(), "explore", "TC-01", "--runs", "1", "--out", empty); status != 0 {
		t.Errorf("status %d: %s", status, said)
	} else if _, err := os.Stat(empty); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("nothing was found, and %s is there: %v", empty, err)
	}
	const good = "id: X\ntitle: x\nlab: {hosts: {a: {}, b: {}, r: {}}}\nrendezvous: r\npeers: {a: {host: a}, b: {host: b}}\nconnect: [[a, b]]\nexpect: {path: direct}\n"
	bad := file(t, "bad.yaml", good+"explore: {lest: 1s}\n")
	for _, test := range []struct{ args, want string }{
		{"TC-99", "TC-99"},
		{bad, `did you mean "last"`},
		{"SH-01", "has a system of servers"},
		{"TC-01 --runs 0", "--runs must be 1 to"},
		{"TC-01 --kinds los,cut", `did you mean "loss"`},
		{"TC-01 --kinds move", "its lab has no such part"},
		{"TC-01 --loss much", "--loss: want a share"},
		{"TC-01 --last 1h", "last: 1h0m0s is not between"},
		{"TC-01 --fabric cloud", "--fabric"},
		{"TC-01 --as-is --kinds loss", "--kinds says what is drawn, and --as-is draws nothing"},
	} {
		status, _, said := call(t.Context(), append([]string{"explore"}, strings.Fields(test.args)...)...)
		if status != 2 || !strings.Contains(said, test.want) {
			t.Errorf("%s: status %d, said %q, want something about %q", test.args, status, said, test.want)
		}
	}
}
