package main

import (
	"slices"
	"testing"
)

// Other systems know the names of all that need Linux, and say so.
func TestWhatNeedsLinuxHasItsNameElsewhere(t *testing.T) {
	var want []string
	for _, c := range linuxCommands() {
		if !c.Hidden {
			want = append(want, c.Name())
		}
	}
	if !slices.Equal(want, linuxNames) {
		t.Errorf("linuxNames are %v, the commands are %v", linuxNames, want)
	}
}
