package sansio

import (
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"
)

// TestSourceIsChosen: a socket of all addresses is told to which one a datagram
// came, and sends with the one that it is told; on other systems with none.
func TestSourceIsChosen(t *testing.T) {
	for _, network := range []string{"udp4", "udp"} {
		conn, err := net.ListenPacket(network, ":0")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		io := ioOf(t, conn)
		second := netip.MustParseAddr("127.0.0.2")
		other, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(second, 0)))
		if err != nil {
			t.Skipf("this system has no address %v: %v", second, err)
		}
		defer other.Close()
		port := conn.LocalAddr().(*net.UDPAddr).AddrPort().Port()
		third := netip.MustParseAddr("127.0.0.3")
		if _, err := other.WriteToUDPAddrPort([]byte("to the third"), netip.AddrPortFrom(third, port)); err != nil {
			t.Skipf("this system has no address %v: %v", third, err)
		}
		if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if at := arrivedAt(t, io); runtime.GOOS != "linux" {
			if at.IsValid() {
				t.Errorf("%s: it claims to know the address %v", network, at)
			}
			continue
		} else if at != third {
			t.Errorf("%s: the datagram came to %v, it says %v", network, third, at)
		}
		to := other.LocalAddr().(*net.UDPAddr).AddrPort()
		text := []byte("from the third")
		io.write([]outgoing{{remote: netip.AddrPortFrom(to.Addr().Unmap(), to.Port()), local: third, end: len(text)}}, text)
		if err := other.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 100)
		n, from, err := other.ReadFromUDPAddrPort(got)
		if err != nil || string(got[:n]) != string(text) || from.Addr().Unmap() != third {
			t.Errorf("%s: %q from %v (%v), want %q from %v", network, got[:n], from, err, text, third)
		}
	}
}
