package relay

import (
	"encoding/binary"
	"net/netip"
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
