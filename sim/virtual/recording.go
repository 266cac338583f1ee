package virtual

import (
	"fmt"
	"net/netip"
	"slices"

	"p2pmodel/sim"
	"p2pmodel/sim/witness"
	"p2pmodel/sim/witness/pcapng"
)

const (
	// maxRecorded is the memory that a recording may use for packets, in bytes.
	maxRecorded = 512 << 20
	// recordedOverhead is what a packet takes besides its bytes.
	recordedOverhead = 160
	// arenaSize is how much memory for bytes is asked for at once.
	arenaSize = 64 << 10
)

// recording is what captures have seen.
type recording struct {
	packets     []witness.Packet
	connections bool // of TCP, only what opens and ends them
	arena       []byte
	size        int
	missing     uint64
}

// see records a packet at a point. Who captures leaves out the probes of
// certifications.
func (r *recording) see(n *Network, p *packet, at *witness.Point, d witness.Direction) {
	if probing(p) || r.connections && p.protocol == protocolTCP && p.flags&(tcpSYN|tcpFIN|tcpRST) == 0 {
		return
	}
	fresh := p.data == nil
	if fresh {
		r.marshal(p)
	}
	if r.size += recordedOverhead; fresh {
		r.size += len(p.data)
	}
	if r.size > maxRecorded {
		r.missing++
		return
	}
	w := witness.Packet{At: n.time, Point: *at, Direction: d, Data: p.data, Protocol: p.protocol}
	w.Src, w.Dst = netip.AddrPortFrom(p.src.Addr(), 0), netip.AddrPortFrom(p.dst.Addr(), 0)
	if p.protocol != protocolICMP {
		w.Src, w.Dst = p.src, p.dst
	}
	if p.protocol == protocolUDP {
		w.Payload = p.data[sizeIP+sizeUDP : len(p.data) : len(p.data)]
	}
	if len(r.packets) == cap(r.packets) {
		// Twice as many rather than append's quarter more: most of what a recording costs
		// is to move it.
		r.packets = slices.Grow(r.packets, max(len(r.packets), 1024))
	}
	r.packets = append(r.packets, w)
}

// marshal gives the packet its bytes, out of the arena.
func (r *recording) marshal(p *packet) {
	if len(r.arena) < p.size+sizeQuote {
		r.arena = make([]byte, max(arenaSize, p.size+sizeQuote))
	}
	p.data = p.marshal(r.arena[:0])
	p.data = p.data[:len(p.data):len(p.data)]
	r.arena = r.arena[len(p.data):]
}

// probing reports whether a packet is of a certification, whose traces are left
// out everywhere.
func probing(p *packet) bool {
	return sim.ProbePrefix.Contains(p.src.Addr()) || sim.ProbePrefix.Contains(p.dst.Addr()) ||
		proberPrefix.Contains(p.src.Addr()) || proberPrefix.Contains(p.dst.Addr())
}

// proberPrefix is what certifications have behind routers; no plan gives it out.
var proberPrefix = netip.MustParsePrefix("192.168.255.0/24")

// Packets implements sim.Network. Certifications leave no packets, and what was
// lost on a link is seen where it left only.
func (n *Network) Packets() []witness.Packet {
	if n.recording == nil {
		return nil
	}
	return n.recording.packets[:len(n.recording.packets):len(n.recording.packets)]
}

// err tells of packets that are missing.
func (r *recording) err() error {
	if r == nil || r.missing == 0 {
		return nil
	}
	return fmt.Errorf("captures lost %d packets: they may take %d MB, and the lab sent more; run it for a shorter time", r.missing, maxRecorded>>20)
}

// write writes the recording, if that was asked for.
func (n *Network) write() error {
	if n.opt.Capture == nil || n.recording == nil {
		return nil
	}
	if err := pcapng.Write(n.opt.Capture, n.recording.packets, n.plans.points); err != nil {
		return fmt.Errorf("write the capture: %w", err)
	}
	return nil
}
