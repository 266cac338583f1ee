//go:build !unix

package runner

import (
	"errors"
	"os"
)

// lockFile fails: what it is for, shard processes in a lab, needs Linux.
func lockFile(*os.File) error { return errors.ErrUnsupported }
