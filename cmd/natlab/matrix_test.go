package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"p2pmodel/sim/kernel"
)

func TestWhatMatrixAndSweepRefuse(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"matrix"}, "say which NATs"},
		{[]string{"matrix", "--classic", "--axes"}, "exclude each other"},
		{[]string{"matrix", "symetric"}, `did you mean "symmetric"`},
		{[]string{"matrix", "full-cone", "mapping=EIM,filtering=EIF"}, "the same behaviour"},
		{[]string{"matrix", "--classic", "--techniques", "magic"}, `"magic" is not known`},
		{[]string{"matrix", "--classic", "--format", "xml"}, "text, json or csv"},
		{[]string{"matrix", "--classic", "--baseline", filepath.Join(t.TempDir(), "none.json")}, "--baseline"},
		{[]string{"matrix", "--classic", "--scenario", "TC-06"}, "single phase"},
		{[]string{"matrix", "symmetric,full=evict"}, "evict"},
		{[]string{"sweep", "--rtt", "1ms"}, "--rtt must be"},
		{[]string{"sweep", "--steps", "2"}, "--steps must be"},
		{[]string{"sweep", "full-cone,pooling=arbitrary"}, "left to chance"},
	} {
		status, out, stderr := call(t.Context(), c.args...)
		if status != exitUnable || out != "" {
			t.Errorf("%v: status %d, output %q", c.args, status, out)
		}
		contains(t, stderr, c.want)
	}
}

// TestMatrixAgainstABaseline: the smallest grid, its JSON, its report, and a comparison
// with a baseline that it equals. What is worse is tested in scenarios/grid.
func TestMatrixAgainstABaseline(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to make network namespaces: run `sudo make test`")
	}
	if err := kernel.Enter(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	status, out, stderr := call(t.Context(), "matrix", "full-cone", "--format", "json", "--report", filepath.Join(dir, "report"))
	if status != exitOK {
		t.Fatalf("status %d: %s", status, stderr)
	}
	var res struct {
		Cells []struct {
			A, B, Expected, Observed string
			Runs                     int
			AsExpected               int `json:"as_expected"`
		}
	}
	if err := json.Unmarshal([]byte(out), &res); err != nil || len(res.Cells) != 1 {
		t.Fatalf("%v: %s", err, out)
	}
	if c := res.Cells[0]; c.A != "mapping=EIM,filtering=EIF,ports=preserve" || c.B != c.A || c.Expected != "direct" || c.Observed != "direct" || c.Runs != 1 || c.AsExpected != 1 {
		t.Errorf("the cell is %+v", c)
	}
	for _, name := range []string{"index.html", "grid.json", "grid.csv", "cells/1-1/index.html", "cells/1-1/results.json"} {
		if _, err := os.Stat(filepath.Join(dir, "report", name)); err != nil {
			t.Error(err)
		}
	}
	baseline := func(expected, observed string, as int) string {
		path := filepath.Join(dir, observed+".json")
		text, err := json.Marshal(map[string]any{"schema": 1, "cells": []map[string]any{{
			"a": res.Cells[0].A, "b": res.Cells[0].B, "expected": expected, "observed": observed, "runs": 1, "as_expected": as,
			"interval": map[string]float64{"share": 1, "low": 0.2, "high": 1},
		}}})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	status, out, _ = call(t.Context(), "matrix", "full-cone", "--baseline", baseline("direct", "direct", 1))
	if status != exitOK {
		t.Errorf("against the same: status %d", status)
	}
	contains(t, out, "no cell is worse", "1 of 1 cells as expected")
}
