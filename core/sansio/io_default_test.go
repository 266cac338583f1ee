//go:build !linux

package sansio

import (
	"net"
	"net/netip"
	"testing"
)

// ioOf is what a loop would use for a socket.
func ioOf(_ *testing.T, conn net.PacketConn) packetIO { return plainIO{conn} }

// arrivedAt reads a datagram and gives to which address it came.
func arrivedAt(t *testing.T, io packetIO) netip.Addr {
	t.Helper()
	if err := io.(plainIO).read(&batch{}); err != nil {
		t.Fatal(err)
	}
	return netip.Addr{}
}
