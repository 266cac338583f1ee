package ice

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"p2pmodel/core/sansio"
	"p2pmodel/core/sansio/simnet"
)

// FuzzDatagram: whoever has no password gets nothing out of a machine, neither an
// answer nor data into the application, before the other side is known and after it;
// and nothing of it is kept.
func FuzzDatagram(f *testing.F) {
	f.Add([]byte("hello"), false)
	f.Add([]byte("\x00\x01\x00\x0c\x21\x12\xa4\x42abcdefghijkl\x00\x06\x00\x08abcdefgh"), true)
	f.Add([]byte("\x01\x01\x00\x0c\x21\x12\xa4\x42abcdefghijkl\x00\x20\x00\x08\x00\x01\x11\x11\x22\x22\x33\x33"), true)
	f.Add([]byte("\x40\x00\x00\x04data"), false)
	f.Fuzz(func(t *testing.T, payload []byte, known bool) {
		now := simnet.Epoch
		m, err := NewMachine(Config{Rand: random(1, 1), STUN: addrs("198.18.0.2:3478"), TURN: []Relay{{relayAddr, "user", "secret"}}})
		if err != nil {
			t.Fatal(err)
		}
		m.HandleInterfaces(now, []netip.Addr{netip.MustParseAddr("192.0.2.1")})
		b, _ := m.PollBind()
		m.HandleBound(now, b.Socket, netip.MustParseAddrPort("192.0.2.1:4000"), nil)
		if known {
			if err := m.SetRemote(now, Description{Ufrag: "abcd", Password: "0123456789012345678901", Candidates: []Candidate{
				{Foundation: "1", Component: 1, Priority: 1, Addr: netip.MustParseAddrPort("192.0.2.9:9")},
			}}); err != nil {
				t.Fatal(err)
			}
		}
		drain(m)
		for _, from := range addrs("198.18.0.2:3478", "198.18.0.3:3478", "192.0.2.66:6") {
			m.HandleDatagram(now, sansio.Datagram{Socket: b.Socket, Remote: from, Payload: slices.Clone(payload)})
			sent, got := drain(m)
			stranger := from.Addr() == netip.MustParseAddr("192.0.2.66")
			if got > 0 || stranger && sent > 0 || sent > len(payload) {
				t.Fatalf("%q from %v: %d bytes sent, %d datagrams heard", payload, from, sent, got)
			}
		}
		m.HandleTimeout(now.Add(time.Minute))
		m.Close(now.Add(time.Minute))
		drain(m)
	})
}

// drain gives how many bytes a machine has sent and how many datagrams it has heard.
func drain(m *Machine) (sent, got int) {
	for d, ok := m.PollTransmit(); ok; d, ok = m.PollTransmit() {
		sent += len(d.Payload)
	}
	for e, ok := m.PollEvent(); ok; e, ok = m.PollEvent() {
		if _, is := e.(Received); is {
			got++
		}
	}
	return sent, got
}
