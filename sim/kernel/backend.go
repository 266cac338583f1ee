//go:build linux

package kernel

import (
	"fmt"
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

// ParseBackend reads a backend's name; "" is wire.
func ParseBackend(name string) (Backend, error) {
	switch b := Backend(name); b {
	case "", WireLinks:
		return WireLinks, nil
	case NetemLinks, AutoLinks:
		return b, nil
	}
	return "", fmt.Errorf("links are carried by %s, not by %q", strings.Join(Backends(), ", "), name)
}
