package sansio

import (
	"bytes"
	"net"
	"net/netip"
	"testing"
	"time"
)

// sender sends and tells what comes of it.
type sender struct{ echo }

func (s *sender) HandleUndeliverable(_ time.Time, u Undeliverable) { s.Emit(u) }

// closedPort is a port of an address of this host that nobody listens at: tcpmux's, which
// no socket gets that asks for any port. One that was free a moment ago may be somebody's
// by now, of this test or another.
func closedPort(t *testing.T, address string) netip.AddrPort {
	t.Helper()
	c, err := net.ListenPacket("udp", address)
	if err != nil {
		t.Skipf("LEFT OUT: this system has no %s: %v", address, err)
	}
	defer c.Close()
	return netip.AddrPortFrom(addrPort(c.LocalAddr()).Addr(), 1)
}

func TestErrorsAreTold(t *testing.T) {
	for _, c := range []struct {
		address    string
		kind, code uint8
	}{{"127.0.0.1:0", 3, 3}, {"[::1]:0", 1, 4}} { // port unreachable
		t.Run(c.address, func(t *testing.T) {
			nobody := closedPort(t, c.address)
			m := &sender{}
			l := run(t, m, System())
			local := netip.MustParseAddrPort(c.address)
			l.Do(func(time.Time) { m.Open(Bind{Socket: 7, Local: local, Errors: true}) })
			at := l.next(t).(boundEvent).local
			listener := dial(t, at) // somebody who gets what is sent after an error
			for round := range 3 {
				l.Do(func(time.Time) {
					m.Transmit(Datagram{Socket: 7, Remote: nobody, Payload: []byte("anybody?")})
				})
				u, ok := l.next(t).(Undeliverable)
				if want := (Undeliverable{Socket: 7, Remote: nobody, Type: c.kind, Code: c.code}); !ok || u != want {
					t.Fatalf("round %d: %+v, want %+v", round, u, want)
				}
				// The error of one destination costs another one nothing.
				echoed := []byte{byte(round)}
				if _, err := listener.Write(echoed); err != nil {
					t.Fatal(err)
				}
				got := make([]byte, 10)
				_ = listener.SetReadDeadline(time.Now().Add(patience))
				if n, err := listener.Read(got); err != nil || !bytes.Equal(got[:n], echoed) {
					t.Fatalf("round %d: %x, %v", round, got[:n], err)
				}
			}
		})
	}
}

// TestAnErrorCostsNoDatagram: what is sent in one batch with datagrams to closed ports
// arrives all the same.
func TestAnErrorCostsNoDatagram(t *testing.T) {
	nobody := closedPort(t, "127.0.0.1:0")
	m := &sender{}
	l := run(t, m, System())
	l.Do(func(time.Time) { m.Open(Bind{Socket: 7, Local: loopback, Errors: true}) })
	l.next(t)
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(loopback))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	const count = 40
	to := addrPort(c.LocalAddr())
	l.Do(func(time.Time) {
		for i := range count {
			m.Transmit(Datagram{Socket: 7, Remote: nobody, Payload: []byte{0}})
			m.Transmit(Datagram{Socket: 7, Remote: to, Payload: []byte{byte(i)}})
		}
	})
	got := make([]byte, 10)
	for i := range count {
		_ = c.SetReadDeadline(time.Now().Add(patience))
		if n, err := c.Read(got); err != nil || n != 1 || got[0] != byte(i) {
			t.Fatalf("datagram %d: %x, %v", i, got[:n], err)
		}
	}
}

// TestDontFragment: over a link of 1500 bytes, 3000 leave in fragments or not at all.
func TestDontFragment(t *testing.T) {
	inOwnNetwork(t, 1500)
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		conn, err := net.ListenPacket("udp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		other, err := net.ListenPacket("udp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		io := ioOf(t, conn)
		to, text := addrPort(other.LocalAddr()), make([]byte, 3000)
		out := func(size int, whole bool) outgoing { return outgoing{remote: to, whole: whole, end: size} }
		io.write([]outgoing{out(3000, true), out(1400, true), out(2999, false), out(2998, true), out(2997, false)}, text)
		_ = other.SetReadDeadline(time.Now().Add(patience))
		for _, want := range []int{1400, 2999, 2997} {
			n, _, err := other.ReadFrom(make([]byte, 4000))
			if err != nil || n != want {
				t.Errorf("%s: %d bytes arrived (%v), want %d", address, n, err, want)
			}
		}
	}
}
