package virtual

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"

	"p2pmodel/core/sansio"
)

// socket is a UDP socket of a machine.
type socket struct {
	machine *Machine
	id      sansio.Socket
	local   netip.AddrPort
}

// sockets are those of a host, by port and then by address, those of all addresses
// first.
type sockets []*socket

// Ephemeral ports are those of Linux (ip_local_port_range).
const (
	ephemeralLow  = 32768
	ephemeralHigh = 60999
)

// errInUse and errNotLocal are why a socket cannot be bound.
var (
	errInUse    = errors.New("address already in use")
	errNotLocal = errors.New("cannot assign requested address")
)

// at gives where sockets with a port begin.
func (s sockets) at(port uint16) int {
	low, high := 0, len(s)
	for low < high {
		if middle := (low + high) / 2; s[middle].local.Port() < port {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low
}

// find gives the socket that a datagram for an address is for: one that is bound
// to just that rather than one of all addresses.
func (s sockets) find(to netip.AddrPort) (found *socket) {
	for i := s.at(to.Port()); i < len(s) && s[i].local.Port() == to.Port(); i++ {
		if a := s[i].local.Addr(); a == to.Addr() {
			return s[i]
		} else if a.IsUnspecified() {
			found = s[i]
		}
	}
	return found
}

func (s sockets) bound(port uint16) bool {
	i := s.at(port)
	return i < len(s) && s[i].local.Port() == port
}

// taken reports whether a port is bound on the address or an overlapping one.
func (s sockets) taken(a netip.Addr, port uint16) bool {
	for i := s.at(port); i < len(s) && s[i].local.Port() == port; i++ {
		if other := s[i].local.Addr(); other == a || other.IsUnspecified() || a.IsUnspecified() {
			return true
		}
	}
	return false
}

func (s *sockets) add(o *socket) {
	i, _ := slices.BinarySearchFunc(*s, o, func(a, b *socket) int {
		return cmp.Or(cmp.Compare(a.local.Port(), b.local.Port()), a.local.Addr().Compare(b.local.Addr()))
	})
	*s = slices.Insert(*s, i, o)
}

func (s *sockets) remove(o *socket) {
	if i := slices.Index(*s, o); i >= 0 {
		*s = slices.Delete(*s, i, i+1)
	}
}

// bind opens a socket for a machine.
func (h *Host) bind(m *Machine, b sansio.Bind) (*socket, error) {
	a, port := b.Local.Addr().Unmap(), b.Local.Port()
	if !a.IsValid() {
		a = netip.IPv4Unspecified()
	}
	switch {
	case !a.Is4():
		return nil, fmt.Errorf("%v is no IPv4 address: labs have no others", a)
	case !a.IsUnspecified() && !h.has(a):
		return nil, errNotLocal
	case port == 0:
		var ok bool
		if port, ok = h.ephemeral(a); !ok {
			return nil, errInUse
		}
	case h.sockets.taken(a, port):
		return nil, errInUse
	}
	s := &socket{machine: m, id: b.Socket, local: netip.AddrPortFrom(a, port)}
	h.sockets.add(s)
	return s, nil
}

// ephemeral draws a port that is free.
func (h *Host) ephemeral(a netip.Addr) (uint16, bool) {
	if h.ports == nil {
		h.ports = rand.NewPCG(h.network.opt.Seed^keyOf("ports of "+h.node.name), 1)
	}
	const size = ephemeralHigh - ephemeralLow + 1
	from := int(h.ports.Uint64() % size)
	for i := range size {
		if port := uint16(ephemeralLow + (from+i)%size); !h.sockets.taken(a, port) {
			return port, true
		}
	}
	return 0, false
}
