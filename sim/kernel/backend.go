package kernel

import (
	"fmt"
	"slices"
	"strings"
)

// Backend is what carries the links that labs declare.
type Backend string

// The backends. The zero value is WireLinks.
const (
	// WireLinks is our own wire: the model of sim/link itself, with seeds,
	// with drops told one by one, and watched for how late it is.
	WireLinks Backend = "wire"
	// NetemLinks are the kernel's queueing disciplines netem and tbf. They do part of
	// the model, and only count what they lose.
	NetemLinks Backend = "netem"
	// AutoLinks takes netem for links that it can do, where the kernel has it, and
	// the wire for others.
	AutoLinks Backend = "auto"
)

// Backends are the names of all backends.
func Backends() []string { return []string{string(WireLinks), string(NetemLinks), string(AutoLinks)} }

// Set reads a backend's name; with String and Type it is a flag's value.
func (b *Backend) Set(name string) error {
	if !slices.Contains(Backends(), name) {
		return fmt.Errorf("links are carried by %s, not by %q", strings.Join(Backends(), ", "), name)
	}
	*b = Backend(name)
	return nil
}

// String is the backend's name.
func (b Backend) String() string {
	if b == "" {
		return string(WireLinks)
	}
	return string(b)
}

// Type is what usage texts call the value.
func (Backend) Type() string { return strings.Join(Backends(), "|") }
