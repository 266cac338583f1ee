package main

import (
	"encoding/json"
	"testing"
)

func TestReportOfRFC4787(t *testing.T) {
	needLabs(t)
	status, out, stderr := call(t.Context(), "certify", "--rfc4787", "--patience", "200ms", "symmetric")
	if status != exitOK {
		t.Fatalf("status %d: %s", status, stderr)
	}
	contains(t, out, "✓ as declared", "REQ-1 ", "✗ not met", "REQ-14a", "○ not tested", "it takes 2m of silence, and --patience is 200ms")
	status, out, stderr = call(t.Context(), "certify", "--rfc4787", "--patience", "200ms", "--json", "symmetric")
	var r struct {
		Behavior, Declared, Measured string
		AsDeclared                   bool `json:"as_declared"`
		Requirements                 []struct{ ID, Level, Verdict, Why string }
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil || status != exitOK {
		t.Fatalf("status %d, %v: %s%s", status, err, out, stderr)
	}
	if r.Behavior != "symmetric" || !r.AsDeclared || r.Declared != r.Measured || len(r.Requirements) != 23 || r.Requirements[0].Verdict != "not met" {
		t.Errorf("it says %+v", r)
	}
}
