package peer

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"p2pmodel/core/sansio"
	"p2pmodel/core/sansio/simnet"
	"p2pmodel/core/secure"
	"p2pmodel/core/stun"
)

// attacker is where attacks come from, unless they forge their source.
var attacker = netip.MustParseAddrPort("203.0.113.66:6666")

// target is a running peer with a session, and what is known of it to somebody who
// has seen every packet: b is attacked, a is its peer.
type target struct {
	*world
	a, b *node
	// seen are the datagrams that b got, in order.
	seen []simnet.Packet
	// out counts bytes and datagrams that b sends.
	out, sent int
}

func newTarget(t testing.TB) *target {
	w := newWorld(t, 1)
	g := &target{world: w}
	w.net.Observe(func(p simnet.Packet) {
		p.Payload = bytes.Clone(p.Payload)
		if g.b == nil {
			g.seen = append(g.seen, p)
			return
		}
		if p.From == g.b.host {
			g.out += len(p.Payload)
			g.sent++
		}
		if p.To == g.b.host {
			g.seen = append(g.seen, p)
		}
	})
	a, b := w.pair(fullCone, fullCone, Config{})
	g.a, g.b = a, b
	g.seen = slices.DeleteFunc(g.seen, func(p simnet.Packet) bool { return p.To != b.host })
	if !w.net.Until(10*time.Second, settled(a, b)) {
		t.Fatal("not settled")
	}
	w.exchange(a, b, 3, 50*ms)
	w.net.Run(time.Second)
	return g
}

// attack has datagrams arrive at b in one instant, and gives what b sends for that.
func (g *target) attack(from netip.AddrPort, datagrams ...[]byte) (bytesOut int) {
	before := g.out
	g.b.runner.Do(func(now time.Time) {
		for _, d := range datagrams {
			g.b.machine.HandleDatagram(now, sansio.Datagram{Remote: from, Payload: bytes.Clone(d)})
		}
	})
	return g.out - before
}

// unharmed fails the test unless the session goes on as before.
func (g *target) unharmed(session SessionID, path Path) {
	g.t.Helper()
	if g.b.session(g.a) != session || g.a.session(g.b) != session {
		g.t.Errorf("session %v became %v and %v", session, g.a.session(g.b), g.b.session(g.a))
	}
	if got := g.b.path(g.a); got.Remote != path.Remote || got.Kind != path.Kind {
		g.t.Errorf("the path moved from %v to %v", path, got)
	}
	if atA, atB := g.exchange(g.a, g.b, 5, 50*ms); atA != 5 || atB != 5 {
		g.t.Errorf("after the attack %d and %d of 5 datagrams arrive", atA, atB)
	}
}

// ofRendezvous are requests that the rendezvous sent to b: introductions.
func (g *target) ofRendezvous(method uint16) (list [][]byte) {
	for _, p := range g.seen {
		if p.SeenSource == rendezvousAddr && binary.BigEndian.Uint16(p.Payload) == method {
			list = append(list, p.Payload)
		}
	}
	return list
}

// introduceRequest is the type of INTRODUCE, method 0x0F2 (docs/protocol.md).
const introduceRequest = 0x02E2

// forgeries gives the n-th forged datagram: of each kind that a socket takes, with as
// much true as somebody knows who has seen the packets but has no keys.
func (g *target) forgeries(n int) (from netip.AddrPort, datagram []byte) {
	return forgery(n, len(g.seen), func(i int) (netip.AddrPort, []byte) { return g.seen[i].SeenSource, g.seen[i].Payload }, g.b.machine.sessions[0].slot)
}

// forgery is that of somebody who has seen some datagrams, and the session's slot.
func forgery(n, seen int, at func(i int) (netip.AddrPort, []byte), slot uint32) (from netip.AddrPort, datagram []byte) {
	r := random(uint64(n), 99)
	from = netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(r.IntN(250))}), uint16(1+r.IntN(60000)))
	source, model := at(r.IntN(seen))
	if r.IntN(2) == 0 {
		from = source
	}
	b := make([]byte, r.IntN(1500))
	_, _ = r.Read(b)
	switch n % 7 {
	case 0: // noise
	case 1: // true but for a bit
		b = bytes.Clone(model)
		b[len(b)-1-r.IntN(min(len(b), 20))] ^= 1 << r.IntN(8)
	case 2: // a frame with a true index
		if len(b) > secure.Overhead {
			b[0] = byte(frameData)
			binary.BigEndian.PutUint32(b[1:], slot<<8|1)
		}
	case 3: // a bare STUN header of any method and class
		b = binary.BigEndian.AppendUint16(nil, uint16(r.IntN(1<<14)))
		b = append(b, 0, 0, 0x21, 0x12, 0xa4, 0x42)
		b = binary.BigEndian.AppendUint64(b, r.Uint64())
		b = binary.BigEndian.AppendUint32(b, r.Uint32())
	case 4: // ChannelData
		if len(b) >= 4 {
			b[0] = 0x40
			binary.BigEndian.PutUint16(b[2:], uint16(len(b)-4))
		}
	case 5: // a STUN message with a true FINGERPRINT and no true integrity
		if b = bytes.Clone(model); stun.Is(b) && len(b) > 40 {
			b[len(b)-20] ^= 1
			binary.BigEndian.PutUint32(b[len(b)-4:], crc32.ChecksumIEEE(b[:len(b)-8])^0x5354554e)
		}
	case 6: // cut short
		b = model[:r.IntN(len(model))]
	}
	return from, b
}

func heapInUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
