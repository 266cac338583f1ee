//go:build !unix

package main

import "os"

// lockFile: on other systems the engine's store is what keeps a second process
// out.
func lockFile(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
}
