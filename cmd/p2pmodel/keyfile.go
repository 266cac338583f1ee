package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"p2pmodel/core/identity"
)

// loadKey reads a private key from a file, or makes the file with a new key if
// there is none. An empty name gives a key that nothing remembers.
func loadKey(file string) (identity.Key, error) {
	if file == "" {
		return identity.NewKey(rand.Reader)
	}
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return createKey(file)
	}
	if err != nil {
		return identity.Key{}, usage("read the key file: %w", err)
	}
	key, err := identity.ParseKey(string(text))
	if err != nil {
		return identity.Key{}, usage("key file %s: %w; remove the file to get a new key", file, err)
	}
	return key, nil
}

// createKey writes a new key to a file that nobody else may read. It does not
// replace a file that another process has just made.
func createKey(file string) (identity.Key, error) {
	key, err := identity.NewKey(rand.Reader)
	if err != nil {
		return identity.Key{}, err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return identity.Key{}, usage("make the key file: %w", err)
	}
	_, err = fmt.Fprintln(f, key.Secret())
	if err := errors.Join(err, f.Close()); err != nil {
		return identity.Key{}, fmt.Errorf("write the key file: %w", err)
	}
	return key, nil
}
