// Package siege runs a machine over the kernel's sockets, as its program does, and
// attacks it: datagrams come from any address, and what the machine does about each is
// known before the next one. It is for tests.
//
// The addresses are those of a network namespace of the test's own (Enter), so that
// ports are free, sources can be forged, and nothing leaves the machine.
package siege

import (
	"errors"
	"net/netip"
)

// Own is the only address that the namespace's interface itself has; all others of
// Networks are the host's as well.
var Own = netip.MustParseAddr("198.18.0.77")

// Networks are the addresses that hosts of a siege may have (RFC 2544, RFC 5737).
var Networks = []netip.Prefix{
	netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("198.51.100.0/24"),
}

// ErrNoNamespace says that there is no network namespace to be had.
var ErrNoNamespace = errors.New("no network namespace of its own: run as root, or permit user namespaces")
