//go:build unix

package runner

import (
	"os"

	"golang.org/x/sys/unix"
)

// lockFile locks a file as long as it is open; it fails where another process has.
func lockFile(f *os.File) error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) }
