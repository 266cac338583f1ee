package main

import (
	"encoding/json"
	"testing"
)

func TestPresetsCommand(t *testing.T) {
	for _, c := range []struct {
		args   []string
		status int
		out    string
		err    string
	}{
		{[]string{"presets"}, 0, "azure-nat-gateway", ""},
		{[]string{"presets", "OpenWrt"}, 0, "linux: Linux with masquerade", ""},
		{[]string{"presets", "cisco"}, 2, "", `did you mean "cisco-asa"?`},
		{[]string{"presets", "--json", "cisco"}, 2, "", `did you mean "cisco-asa"?`},
		{[]string{"presets", "linux", "symmetric"}, 2, "", "want natlab presets [NAME]"},
		{[]string{"__complete", "presets", ""}, 0, "cgn-rfc6888\ta carrier's NAT", ""},
	} {
		status, out, err := call(t.Context(), c.args...)
		if status != c.status {
			t.Errorf("%v ends with %d, want %d: %s", c.args, status, c.status, err)
		}
		contains(t, out, c.out)
		contains(t, err, c.err)
	}
	_, out, _ := call(t.Context(), "presets", "--json")
	var read struct{ Presets []struct{ Name, Note string } }
	if err := json.Unmarshal([]byte(out), &read); err != nil || len(read.Presets) < 25 {
		t.Errorf("%d presets in JSON, %v", len(read.Presets), err)
	}
}
