//go:build !linux

package siege

// Enter does nothing here.
func Enter() {}

// Ready says that there are no namespaces.
func Ready() error { return ErrNoNamespace }
