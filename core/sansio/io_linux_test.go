package sansio

import (
	"net"
	"net/netip"
	"testing"
	"time"
)

// ioOf is what a loop would use for a socket.
func ioOf(t *testing.T, conn net.PacketConn) packetIO {
	t.Helper()
	udp, ok := conn.(udpConn)
	if !ok {
		return plainIO{conn}
	}
	raw, err := udp.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	return newKernelIO(udp, raw, newWire(false))
}

// arrivedAt reads a datagram and gives to which address it came.
func arrivedAt(t *testing.T, io packetIO) netip.Addr {
	t.Helper()
	k := io.(*kernelIO)
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		n, err := k.read(k)
		if err != nil {
			t.Fatal(err)
		}
		if n > 0 {
			a, ok := k.arrival(k, 0)
			if n != 1 || !ok {
				t.Fatalf("%d messages, the first one whole: %v; want one", n, ok)
			}
			return a.local
		}
	}
	t.Fatal("nothing came")
	return netip.Addr{}
}
