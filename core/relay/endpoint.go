package relay

import (
	"encoding/binary"
	"net/netip"

	"p2pmodel/core/budget"
	"p2pmodel/core/sansio"
)

// endpoint is a transport address as a compact map key: address and port in 18
// bytes without pointers, IPv4 in mapped form.
type endpoint [18]byte

// host is an address alone, likewise.
type host [16]byte

func endpointOf(a netip.AddrPort) (e endpoint) {
	h := a.Addr().As16()
	copy(e[:], h[:])
	binary.BigEndian.PutUint16(e[16:], a.Port())
	return e
}

func hostOf(a netip.Addr) host { return a.As16() }

// flow is a client's 5-tuple as a map key: its endpoint, and the socket of ours, which
// stands for our address and the transport.
type flow [22]byte

func flowOf(s sansio.Socket, client netip.AddrPort) (f flow) {
	h := client.Addr().As16()
	copy(f[:], h[:])
	binary.BigEndian.PutUint16(f[16:], client.Port())
	binary.BigEndian.PutUint32(f[18:], uint32(s))
	return f
}

// sourceOf is whom an address counts for: itself, or its IPv6 network, since one host
// has as many addresses of that as it likes.
func sourceOf(a netip.Addr) host {
	return hostOf(budget.Source(a))
}
