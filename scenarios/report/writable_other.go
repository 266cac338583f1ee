//go:build !unix

package report

import "os"

// writable makes a file in a directory and removes it: here, nothing less tells.
func writable(dir string) error {
	f, err := os.CreateTemp(dir, ".writable")
	if err != nil {
		return err
	}
	f.Close()
	return os.Remove(f.Name())
}
