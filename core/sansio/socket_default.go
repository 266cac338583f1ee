//go:build !linux

package sansio

import "net"

// DontFragment says whether Loop honours Datagram.DontFragment on this system.
const DontFragment = false

// batchSystem: other systems read one datagram at a time.
type batchSystem struct{}

func newPacketIO(conn net.PacketConn) packetIO { return plainIO{conn} }

func forceReceiveBuffer(net.PacketConn) {}
