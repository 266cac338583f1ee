//go:build !linux

package capsule

import "runtime"

// system names the system that this process runs on.
func system() string { return runtime.GOOS + " " + runtime.GOARCH }
