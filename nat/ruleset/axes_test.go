//go:build linux

package ruleset_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"p2pmodel/nat"
	"p2pmodel/nat/ruleset"
	"p2pmodel/nat/table"
)

// drawBehavior makes a behaviour that the kernel's rules can do, of axes
// that go together, with ports so few that hosts contend for them.
func drawBehavior(r *rand.Rand) nat.Behavior {
	for {
		b := nat.Behavior{
			Mapping: nat.Dependence(r.IntN(3)), Filtering: nat.Dependence(r.IntN(3)), Scope: nat.Scope(r.IntN(2)),
			Ports: nat.Allocation(r.IntN(4)), Parity: nat.Parity(r.IntN(2)), Pooling: nat.Pooling(r.IntN(2)),
			Refresh: nat.Refresh(r.IntN(3)), Hairpin: nat.Hairpin(r.IntN(3)),
		}
		low := uint16(39998 + r.IntN(4))
		b.Range = nat.PortRange{Low: low, High: low + uint16(r.IntN(9))}
		switch b.Ports {
		case nat.Preserve:
			b.Fallback = nat.Fallback(r.IntN(2))
		case nat.Block:
			b.Block = 16 + r.IntN(3)
			b.Range.High = low + uint16(b.Block*(1+r.IntN(3))+r.IntN(5))
		}
		if b.Ports == nat.Sequential || b.Ports == nat.Preserve && b.Fallback == nat.FallbackSequential {
			b.Delta = 1 + r.IntN(5)
		}
		if b.Validate() == nil {
			return b
		}
	}
}

// steered is a source of randomness that makes the model draw the port that the
// kernel drew: so often that it comes to the address where that is, and then any.
type steered struct {
	next  uint64
	times int
	rest  rand.PCG
}

func (s *steered) Uint64() uint64 {
	if s.times--; s.times < 0 {
		return s.rest.Uint64()
	}
	return s.next
}

// draw has rand.IntN(count) give n: by the high half, by the low one where count
// is a power of two.
func (s *steered) draw(n, count int) {
	s.times = 200
	s.next = (uint64(n)<<32+uint64(count)+1<<31)/uint64(count)<<32 | uint64(n)
}

func TestSteered(t *testing.T) {
	s := &steered{}
	for count := 1; count < 100; count++ {
		for n := range count {
			if s.draw(n, count); rand.New(s).IntN(count) != n {
				t.Fatalf("the draw of %d out of %d fails", n, count)
			}
		}
	}
}

// choose has the model draw the external port, for the inside port.
func (s *steered) choose(b nat.Behavior, inside, external uint16) {
	low, high := int(b.Range.Low), int(b.Range.High)
	if b.Ports == nat.Block {
		low += (int(external) - low) / b.Block * b.Block
		high = low + b.Block - 1
	}
	step := 1
	if b.Parity == nat.ParityKeep {
		low, step = low+(low+int(inside))%2, 2
	}
	if int(external) >= low && int(external) <= high {
		s.draw((int(external)-low)/step, (high-low)/step+1)
	}
}

// duel is the kernel's rules and the model, under the same packets.
type duel struct {
	*network
	t        testing.TB
	b        nat.Behavior // resolved
	external []netip.Addr
	model    *table.Table
	rand     *rand.Rand
	steered  *steered
	points   map[netip.Addr]*point // all that can send and receive, but the router
	inside   []netip.Addr
	outside  []netip.Addr
	history  string
	clock
}

// point sends and receives packets of all protocols at an address.
type point struct {
	udp, tcp, icmp *raw
}

func newDuel(t testing.TB, b nat.Behavior, external int, seed uint64) *duel {
	t.Helper()
	n := newNetwork(t, 3)
	must(t, ruleset.Install(n.conn, n.config(b, external)))
	d := &duel{
		network: n, t: t, b: b.Resolved(), external: externalAddrs[:external],
		rand: rand.New(rand.NewPCG(seed, 4787)), steered: &steered{}, points: map[netip.Addr]*point{},
	}
	var err error
	d.model, err = table.New(b, d.external, rand.New(d.steered))
	must(t, err)
	at := func(n *node, address string) netip.Addr {
		d.points[netip.MustParseAddr(address)] = &point{
			n.raw(address, unix.IPPROTO_UDP), n.raw(address, unix.IPPROTO_TCP), n.raw(address, unix.IPPROTO_ICMP),
		}
		return netip.MustParseAddr(address)
	}
	for i, h := range n.hosts {
		quiet(h)
		d.inside = append(d.inside, at(h, hostAddr(i)))
	}
	quiet(n.outside)
	for _, a := range []string{outsideA, outsideB} {
		d.outside = append(d.outside, at(n.outside, a))
	}
	return d
}

// quiet keeps a node from answering packets that nobody expects.
func quiet(n *node) {
	n.do(func() error {
		return os.WriteFile("/proc/sys/net/ipv4/icmp_echo_ignore_all", []byte("1"), 0o644)
	})
}

func (p *point) of(protocol table.Protocol) *raw { return []*raw{p.udp, p.tcp, p.icmp}[protocol] }

// message makes a packet: to outside an echo is a request, to inside a reply.
// Segments of TCP are resets, which nobody answers.
func message(p table.Packet, outbound bool, number uint16) []byte {
	if p.Protocol == table.ICMPEcho {
		if outbound {
			return echo(8, p.Src.Port(), number)
		}
		return echo(0, p.Dst.Port(), number)
	}
	m := binary.BigEndian.AppendUint16(nil, p.Src.Port())
	m = binary.BigEndian.AppendUint16(m, p.Dst.Port())
	checksum := 6
	if p.Protocol == table.UDP {
		m = append(m, 0, 10, 0, 0)
	} else {
		m = append(m, 0, 0, 0, 0, 0, 0, 0, 0, 5<<4, 4, 0, 0, 0, 0, 0, 0)
		checksum = 16
	}
	m = binary.BigEndian.AppendUint16(m, number)
	src, dst := p.Src.Addr().As4(), p.Dst.Addr().As4()
	pseudo := append(append(src[:], dst[:]...), 0, map[table.Protocol]byte{table.UDP: unix.IPPROTO_UDP, table.TCP: unix.IPPROTO_TCP}[p.Protocol])
	pseudo = binary.BigEndian.AppendUint16(pseudo, uint16(len(m)))
	binary.BigEndian.PutUint16(m[checksum:], ^onesComplement(append(pseudo, m...)))
	return m
}

// onesComplement is the sum of RFC 1071.
func onesComplement(data []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(data); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(data[i:]))
	}
	for sum>>16 > 0 {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

// arrival reads a packet that came in at a point, and its number. The checksum
// has to be right.
func (d *duel) arrival(protocol table.Protocol, packet []byte) (p table.Packet, number uint16) {
	src, dst, m := netip.AddrFrom4([4]byte(packet[12:16])), netip.AddrFrom4([4]byte(packet[16:20])), packet[20:]
	if protocol == table.ICMPEcho {
		id := binary.BigEndian.Uint16(m[4:])
		p = table.Packet{Protocol: protocol, Src: netip.AddrPortFrom(src, id), Dst: netip.AddrPortFrom(dst, 0)}
		if m[0] == 0 {
			p.Src, p.Dst = netip.AddrPortFrom(src, 0), netip.AddrPortFrom(dst, id)
		}
		return p, binary.BigEndian.Uint16(m[6:])
	}
	p = table.Packet{
		Protocol: protocol,
		Src:      netip.AddrPortFrom(src, binary.BigEndian.Uint16(m)), Dst: netip.AddrPortFrom(dst, binary.BigEndian.Uint16(m[2:])),
	}
	pseudo := append(append([]byte{}, packet[12:20]...), 0, packet[9])
	pseudo = binary.BigEndian.AppendUint16(pseudo, uint16(len(m)))
	if onesComplement(append(pseudo, m...)) != 0xffff {
		d.t.Errorf("%v came with a wrong checksum\n%s", p, d.history)
	}
	return p, binary.BigEndian.Uint16(m[len(m)-2:])
}

// received gives the one packet with the number that arrived anywhere.
func (d *duel) received(protocol table.Protocol, number uint16) (got table.Packet, ok bool) {
	for address, point := range d.points {
		for packet := point.of(protocol).receiveRaw(); packet != nil; packet = point.of(protocol).receiveRaw() {
			p, n := d.arrival(protocol, packet)
			if p.Dst.Addr() != address || n != number {
				continue // of what a raw socket sees besides
			}
			if ok {
				d.t.Fatalf("packet %d came twice: %v and %v\n%s", number, got, p, d.history)
			}
			got, ok = p, true
		}
	}
	return got, ok
}

// late waits for a packet that has to arrive and has not. Packets are delivered while they
// are sent, unless the machine is so busy that the kernel puts that off: when it passed the
// rules nobody knows then.
func (d *duel) late(protocol table.Protocol, number uint16) bool {
	for end := time.Now().Add(patience); time.Now().Before(end); <-time.After(time.Millisecond) {
		if _, ok := d.received(protocol, number); ok {
			return true
		}
	}
	return false
}

// step sends a packet through the kernel, and then through the model, at the
// time when it was sent. False: it was sent so near to the end of something, or
// delivered so late, that nobody can say what had to happen.
func (d *duel) step(number int, p table.Packet) bool {
	d.t.Helper()
	now := d.now()
	outbound := slices.Contains(d.inside, p.Src.Addr())
	d.points[p.Src.Addr()].of(p.Protocol).sendTo(p.Dst.Addr().String(), message(p, outbound, uint16(number)))
	got, arrived := d.received(p.Protocol, uint16(number))
	if !d.sent(now) {
		return false
	}
	switch {
	case outbound && arrived:
		d.steered.choose(d.b, p.Src.Port(), got.Src.Port())
	case outbound && d.points[p.Dst.Addr()] == nil:
		d.steer(p) // a mapping was made, and then the packet was not let in
	}
	var v table.Verdict
	at := d.at(now)
	if outbound {
		v = d.model.Outbound(at, p)
	} else {
		v = d.model.Inbound(at, p)
	}
	d.history += fmt.Sprintf("%3d at %v: %v: %v; the kernel: %v %v\n", number, now.Round(time.Millisecond), p, v, arrived, got)
	want := v.Drop == table.Passed
	if want && v.Hairpin && v.Packet.Src.Addr() == v.Packet.Dst.Addr() {
		want = false // a host takes no packet that comes from itself
	}
	if want && !arrived && d.late(p.Protocol, uint16(number)) {
		return false
	}
	if want != arrived || arrived && got != v.Packet {
		d.t.Fatalf("packet %d: the model says %v, the kernel %v %v\n%s\n%s", number, v, arrived, got, d.history, d.dump())
	}
	return true
}

// steer has the model draw the port of the kernel's mapping for the packet, if it
// has one.
func (d *duel) steer(p table.Packet) {
	mappings, err := ruleset.Mappings(d.conn)
	must(d.t, err)
	for _, m := range mappings {
		if m.Protocol == p.Protocol.String() && m.Inside == p.Src &&
			(!m.Remote.IsValid() || m.Remote.Addr() == p.Dst.Addr() && (m.Remote.Port() == p.Dst.Port() || d.b.Mapping != nat.AddressAndPortDependent)) {
			d.steered.choose(d.b, p.Src.Port(), m.External.Port())
		}
	}
}

// packet draws a packet: from inside to outside or to an external address, or
// from outside to one.
func (d *duel) packet() table.Packet {
	r := d.rand
	protocol := []table.Protocol{table.UDP, table.UDP, table.TCP, table.ICMPEcho}[r.IntN(4)]
	port := func(low, count int) uint16 { return uint16(low + r.IntN(count)) }
	inside := netip.AddrPortFrom(d.inside[r.IntN(len(d.inside))], port(40000, 4))
	outside := netip.AddrPortFrom(d.outside[r.IntN(len(d.outside))], port(3478, 2))
	external := netip.AddrPortFrom(d.external[r.IntN(len(d.external))], port(int(d.b.Range.Low), d.b.Range.Size()))
	if live := d.model.Mappings(d.at(d.now())); len(live) > 0 && r.IntN(4) > 0 {
		m := live[r.IntN(len(live))]
		external, protocol = m.External, m.Protocol
	}
	if protocol == table.ICMPEcho {
		outside = netip.AddrPortFrom(outside.Addr(), 0)
	}
	switch kind := r.IntN(10); {
	case kind < 5:
		return table.Packet{Protocol: protocol, Src: inside, Dst: outside}
	case kind < 6:
		if protocol == table.ICMPEcho { // an echo names no port of the other side
			external = netip.AddrPortFrom(external.Addr(), 0)
		}
		return table.Packet{Protocol: protocol, Src: inside, Dst: external}
	}
	return table.Packet{Protocol: protocol, Src: outside, Dst: external}
}

// The kernel's rules and the model agree on every packet of random traffic of all
// protocols, behind random behaviours.
func TestAxesModel(t *testing.T) {
	const behaviors, packets = 120, 60
	var judged atomic.Int64
	t.Cleanup(func() {
		if n := judged.Load(); n < behaviors*packets*3/4 && !t.Failed() {
			t.Errorf("only %d of %d packets were delivered at once: the machine is too busy", n, behaviors*packets)
		}
	})
	for seed := range uint64(behaviors) {
		r := rand.New(rand.NewPCG(seed, 1))
		b, external := drawBehavior(r), 1+r.IntN(2)
		t.Run(fmt.Sprintf("%d,%d addresses,%v", seed, external, b), func(t *testing.T) {
			t.Parallel()
			if b.Pooling == nat.PoolPaired {
				external = 1 // the kernel and the model pair by other hashes
			}
			d := newDuel(t, b, external, seed)
			for i := range packets {
				if !d.step(i, d.packet()) {
					return
				}
				judged.Add(1)
			}
		})
	}
}
