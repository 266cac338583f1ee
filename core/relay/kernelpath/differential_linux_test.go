package kernelpath

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"p2pmodel/core/relay"
)

// redirected is the program's verdict where it has sent a datagram on.
const redirected = 7

// TestProgramIsTheServer has the program and the server make something of the same frames: what
// the program sends is what the server would, byte by byte, and what it does not send it leaves as
// it was.
func TestProgramIsTheServer(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { playFrames(t, rand.New(rand.NewPCG(seed, 0)), 1500) })
	}
}

func playFrames(t *testing.T, dice *rand.Rand, frames int) {
	w := newWorld(t)
	numbers := w.channels()
	before := w.server.Stats()
	var want relay.Passed
	taken := map[string]int{}
	for n := range frames {
		frame, whole := randomFrame(dice, w, numbers)
		d, out, redirected := w.judge(t, frame)
		if !redirected {
			if whole && out.to.IsValid() {
				t.Fatalf("frame %d is none of the program's, although the server passes it on: %x", n, frame)
			}
			continue
		}
		kind := "from a peer"
		if d.to == listen {
			kind = "to a peer"
			want.ToPeers++
			want.ToPeersBytes += uint64(binary.BigEndian.Uint16(d.payload[2:]))
		}
		if out.from == listen {
			if kind == "to a peer" {
				kind = "from relay to relay"
			}
			want.ToClients++
			want.ToClientsBytes += uint64(len(out.payload) - 4)
		}
		taken[kind]++
	}
	for _, kind := range []string{"to a peer", "from a peer", "from relay to relay"} {
		if taken[kind] < frames/50 {
			t.Errorf("%d of %d frames passed on %s: too few to prove anything", taken[kind], frames, kind)
		}
	}
	if got := w.path.Passed(); got != want {
		t.Errorf("it has counted %+v, want %+v", got, want)
	}
	if after := w.server.Stats(); after.Passed != want || after.ToPeers < before.ToPeers+want.ToPeers {
		t.Errorf("the server's counters are %+v, want %+v among them", after, want)
	}
}

// channels are those of randomFrame: one to a peer, one each between the two clients, and one
// that nobody has.
func (w *world) channels() []uint16 {
	return []uint16{w.channel(0, peer), w.channel(0, w.relayed[1]), w.channel(1, w.relayed[0]), 0x4fff}
}

// judge has the program make something of a frame, and fails the test where it is not what
// the server makes of it: out, of which to is invalid where that is nothing.
func (w *world) judge(t testing.TB, frame []byte) (d, out datagram, taken bool) {
	t.Helper()
	d, deliverable := parsed(frame)
	passes := false
	if deliverable {
		out, passes = w.pass(d)
	}
	verdict, got, err := w.path.program.Test(frame)
	if err != nil {
		t.Fatalf("%x: %v", frame, err)
	}
	switch int32(verdict) {
	case next:
		if !bytes.Equal(got, frame) {
			t.Fatalf("goes up changed:\n%x\n%x", frame, got)
		}
		return d, out, false
	case redirected:
	default:
		t.Fatalf("verdict %d: %x", int32(verdict), frame)
	}
	if !passes {
		t.Fatalf("it is passed on, which the server does not do: %x\n%x", frame, got)
	}
	expected := out.frame()
	copy(expected[18:20], got[18:20]) // the id
	seal(expected)
	switch sound := intact(frame); {
	case !sound && intact(got):
		t.Fatalf("it has a wrong checksum, and a right one when it is passed on: %x\n%x", frame, got)
	case sound && !bytes.Equal(got[14:], expected[14:]):
		t.Fatalf("of %v to %v:\n%x\n%x, want\n%x", d.from, d.to, frame, got, expected)
	}
	return d, out, true
}

// FuzzProgram has the program and the server make something of frames of anybody's.
func FuzzProgram(f *testing.F) {
	w := newWorld(f)
	numbers, dice := w.channels(), rand.New(rand.NewPCG(1, 1))
	for range 40 {
		frame, _ := randomFrame(dice, w, numbers)
		f.Add(frame)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		if len(frame) < 34 || len(frame) > 3000 {
			return // none is given to a program, or by an interface
		}
		clear(frame[:12]) // to this host
		w.judge(t, frame)
	})
}

// intact reports whether the checksum of a frame's datagram is right. A socket would not have
// got one whose is not; the program does not look, and leaves it wrong.
func intact(frame []byte) bool {
	again := bytes.Clone(frame)
	seal(again)
	return bytes.Equal(again, frame)
}

// randomFrame makes one, most of which are as good ones begin; whole: nothing is wrong with it.
func randomFrame(dice *rand.Rand, w *world, numbers []uint16) (frame []byte, whole bool) {
	size := dice.IntN(200)
	if dice.IntN(4) == 0 {
		size = dice.IntN(2100)
	}
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(dice.Uint32() >> 8)
	}
	d := datagram{from: clients[0], to: listen}
	whole = size <= maxMoved
	if which := dice.IntN(8); which < 4 {
		if d.payload = channelData(numbers[which], size, data); which == 2 {
			d.from = clients[1]
		}
		for range dice.IntN(5) { // padding, which may be anything and too much
			d.payload = append(d.payload, byte(dice.IntN(2)*dice.IntN(256)))
			whole = false
		}
	} else {
		d.payload = data
		d.from, d.to = peer, w.relayed[0]
		switch which {
		case 4:
			d.from = nobody
		case 5:
			d.from, d.to = w.relayed[0], w.relayed[1]
		}
	}
	frame = d.frame()
	ip := frame[14:]
	ip[1], ip[8] = byte(dice.Uint32()), byte(dice.Uint32()) // TOS, TTL
	binary.BigEndian.PutUint16(ip[4:], uint16(dice.Uint32()))
	ip[6] = byte(dice.IntN(2) << 6)
	seal(frame)
	if dice.IntN(3) == 0 {
		frame, whole = spoiled(dice, frame), false
	}
	if dice.IntN(6) == 0 { // what Ethernet may have behind a short one
		frame = append(frame, make([]byte, dice.IntN(20))...)
	}
	return frame, whole
}

// spoiled does something to a frame that a program may mistake.
func spoiled(dice *rand.Rand, frame []byte) []byte {
	ip := frame[14:]
	switch dice.IntN(10) {
	case 0: // options
		frame = append(frame[:34:34], append([]byte{1, 1, 1, 1}, frame[34:]...)...)
		frame[14] = 0x46
		binary.BigEndian.PutUint16(frame[16:], uint16(len(frame)-14))
		seal(frame)
	case 1: // a fragment
		ip[6], ip[7] = byte(dice.IntN(64)), byte(dice.Uint32())
		seal(frame)
	case 2: // without a checksum
		ip[26], ip[27] = 0, 0
	case 3: // the header's is wrong
		ip[10] ^= 1 << dice.IntN(8)
	case 4: // UDP's length lies
		binary.BigEndian.PutUint16(ip[24:], uint16(dice.IntN(2200)))
	case 5: // IP's does
		binary.BigEndian.PutUint16(ip[2:], uint16(dice.IntN(2200)))
		header := ip[:20]
		header[10], header[11] = 0, 0
		binary.BigEndian.PutUint16(header[10:], ^fold(header, 0))
	case 6: // the channel's does
		if len(ip) >= 32 {
			binary.BigEndian.PutUint16(ip[30:], uint16(dice.IntN(2200)))
			seal(frame)
		}
	case 7: // cut off behind the header, without which none is given to a program
		frame = frame[:34+dice.IntN(len(frame)-34)]
	case 8: // another protocol
		ip[9] = byte(dice.Uint32())
		header := ip[:20]
		header[10], header[11] = 0, 0
		binary.BigEndian.PutUint16(header[10:], ^fold(header, 0))
	default: // one bit of what tells where it goes, or of the channel's header
		at := 12 + dice.IntN(min(20, len(ip)-12))
		ip[at] ^= 1 << dice.IntN(8)
		seal(frame)
	}
	return frame
}

// parsed is the datagram that a socket would get of a frame, but for what only a program may
// not take: options, fragments and datagrams without a checksum.
func parsed(frame []byte) (d datagram, ok bool) {
	if len(frame) < 42 || binary.BigEndian.Uint16(frame[12:]) != 0x0800 || frame[14] != 0x45 || frame[23] != 17 {
		return d, false
	}
	ip := frame[14:]
	total, size := int(binary.BigEndian.Uint16(ip[2:])), int(binary.BigEndian.Uint16(ip[24:]))
	if fold(ip[:20], 0) != 0xffff || binary.BigEndian.Uint16(ip[6:])&0x3fff != 0 || total > len(ip) || size < 8 || 20+size > total {
		return d, false
	}
	return datagram{address(ip[12:], ip[20:]), address(ip[16:], ip[22:]), ip[28 : 20+size]}, true
}

func address(addr, port []byte) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(addr)), binary.BigEndian.Uint16(port))
}
