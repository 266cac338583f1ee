package relay

import (
	"net/netip"
	"testing"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/sansio"
	"p2pmodel/core/stun"
)

// BenchmarkServer is one datagram of the size of a game's or a call's through
// the machine, without the system calls around it.
func BenchmarkServer(b *testing.B) {
	const size = 1200
	data := make([]byte, size)
	for _, c := range []struct {
		name string
		// datagram is what comes, given a world with a channel to peerX.
		datagram func(u *user, relayed netip.AddrPort) sansio.Datagram
	}{
		{"ChannelDataToPeer", func(*user, netip.AddrPort) sansio.Datagram {
			return sansio.Datagram{Socket: listenSocket, Remote: clientA, Payload: appendChannelData(nil, 0x4000, data)}
		}},
		{"PeerToChannelData", func(*user, netip.AddrPort) sansio.Datagram {
			return sansio.Datagram{Socket: 1, Remote: peerX, Payload: data}
		}},
		{"SendIndicationToPeer", func(u *user, _ netip.AddrPort) sansio.Datagram {
			m, _ := stun.Build(pion.MethodSend, pion.ClassIndication, u.id(), peerAttribute(peerX), stun.Attribute{Type: pion.AttrData, Value: data})
			return sansio.Datagram{Socket: listenSocket, Remote: clientA, Payload: m.Raw}
		}},
		{"PeerToDataIndication", func(*user, netip.AddrPort) sansio.Datagram {
			return sansio.Datagram{Socket: 1, Remote: netip.AddrPortFrom(peerX.Addr(), 9), Payload: data}
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			w := newWorld(&testing.T{}, nil)
			u := w.user(clientA, "alice", "secret-a")
			relayed := u.allocate()
			u.want(0, u.bindChannel(0x4000, peerX))
			d := c.datagram(u, relayed)
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				w.server.HandleDatagram(w.now, d)
				sent := 0
				for _, ok := w.server.PollTransmit(); ok; _, ok = w.server.PollTransmit() {
					sent++
				}
				if sent != 1 {
					b.Fatalf("%d datagrams relayed, want 1", sent)
				}
			}
		})
	}
}
