//go:build !linux

package main

import "testing"

// What needs Linux says so, and what to do instead; nothing else of it is looked at.
func TestWhatNeedsLinuxSaysSo(t *testing.T) {
	for _, name := range linuxNames {
		status, out, stderr := call(t.Context(), name, "--no-such-flag", "lab.yaml")
		if status != exitUnable || out != "" {
			t.Errorf("%s: status %d, %q", name, status, out)
		}
		contains(t, stderr, "natlab "+name, "Linux", "--fabric virtual")
	}
	status, out, stderr := call(t.Context(), "run", "TC-03", "--format", "json")
	if status != exitOK {
		t.Errorf("run: status %d: %s", status, stderr)
	}
	contains(t, out, `"fabric": "virtual"`)
	status, out, _ = call(t.Context(), "doctor")
	if status != exitUnable {
		t.Errorf("doctor: status %d", status)
	}
	contains(t, out, "✗ kernel", "Linux", "--fabric virtual")
}
