// Package kernelpath is a relay.FastPath: it has Linux pass on what goes through a
// channel, at the ingress of tc, before it reaches a socket. It writes flows into maps
// of the kernel, and a program, assembled here and loaded with cilium/ebpf, rewrites
// their datagrams and sends them where they go.
//
// Whatever the program does not know or cannot do as the server would goes up to the server
// untouched: STUN, Data indications, IPv6, IP options, fragments, lengths that lie,
// datagrams without a checksum, several datagrams as one (GSO, GRO), what is longer
// than the path's MTU or 2,036 bytes, what comes by another interface than the route back
// leaves by, flows that have expired or have a rate.
//
// What takes it is not seen by the rules of the host's firewall, nor by what
// else looks at datagrams between tc and sockets.
package kernelpath

import "errors"

// ErrUnavailable is what errors of New wrap: the server does all itself.
var ErrUnavailable = errors.New("no fast path in the kernel")
