package agent

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
)

// proxySignature begins a header of the PROXY protocol, version 2 (section 2.2 of
// its specification, haproxy.org).
var proxySignature = []byte("\r\n\r\n\x00\r\nQUIT\n")

// maxProxyHeader bounds what follows the first 16 bytes: addresses and what
// balancers add to them.
const maxProxyHeader = 2048

var errProxyHeader = errors.New("agent: no header of the PROXY protocol, version 2")

// readProxyHeader reads a header and nothing beyond it, and gives the address of
// the client. A connection of the balancer's own (LOCAL, its health check) has
// none: the zero Addr.
func readProxyHeader(r io.Reader) (netip.Addr, error) {
	var head [16]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return netip.Addr{}, fmt.Errorf("%w: %w", errProxyHeader, err)
	}
	size := int(binary.BigEndian.Uint16(head[14:]))
	if !bytes.Equal(head[:12], proxySignature) || head[12]>>4 != 2 || size > maxProxyHeader {
		return netip.Addr{}, errProxyHeader
	}
	rest := make([]byte, size)
	if _, err := io.ReadFull(r, rest); err != nil {
		return netip.Addr{}, fmt.Errorf("%w: %w", errProxyHeader, err)
	}
	switch command, family := head[12]&15, head[13]; {
	case command == 0:
		return netip.Addr{}, nil
	case command == 1 && family == 0x11 && size >= 12: // TCP over IPv4
		return netip.AddrFrom4([4]byte(rest[:4])), nil
	case command == 1 && family == 0x21 && size >= 36: // TCP over IPv6
		return netip.AddrFrom16([16]byte(rest[:16])).Unmap(), nil
	}
	return netip.Addr{}, errProxyHeader
}
