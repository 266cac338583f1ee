//go:build linux

package scan

import (
	"net/netip"
	"testing"

	"p2pmodel/sim"
)

var (
	source  = netip.MustParseAddrPort("198.18.0.2:61616")
	targets = []netip.Addr{netip.MustParseAddr("198.18.0.3"), netip.MustParseAddr("198.18.0.4")}
)

// TestProbesAreKnownAgain also where source, destination and ports were
// translated, by their own scan alone.
func TestProbesAreKnownAgain(t *testing.T) {
	m, other := NewMaker(source, targets), NewMaker(source, targets)
	for _, transport := range []sim.Transport{sim.TCP, sim.UDP} {
		for target := range targets {
			for _, port := range []uint16{1, 443, 65535} {
				p := m.Append(nil, transport, target, port)
				copy(p[12:], []byte{192, 168, 1, 2, 192, 168, 1, 3})
				copy(p[20:], []byte{1, 2, 3, 4})
				want := sim.Probe{Transport: transport, Target: netip.AddrPortFrom(targets[target], port)}
				if got, ok := m.Probe(p); !ok || got != want {
					t.Errorf("%v: known as %v, %v", want, got, ok)
				}
				if got, ok := other.Probe(p); ok {
					t.Errorf("%v: another scan takes it for %v", want, got)
				}
			}
		}
	}
}

// TestChecksums: those of a sound packet sum up to nothing (RFC 1071).
func TestChecksums(t *testing.T) {
	m := NewMaker(source, targets)
	for _, transport := range []sim.Transport{sim.TCP, sim.UDP} {
		for port := range uint16(2000) {
			p := m.Append(nil, transport, 1, port+1)
			if s := checksum(sum(p[:ipHeader])); s != 0 {
				t.Fatalf("%s: the checksum of the header is off by %#x", transport, s)
			}
			if s := checksum(sum(p[12:ipHeader]) + uint32(p[9]) + uint32(len(p)-ipHeader) + sum(p[ipHeader:])); s != 0 {
				t.Fatalf("%s: the checksum is off by %#x", transport, s)
			}
		}
	}
}

// FuzzPackets: whatever is on the wire, nothing panics, and what is known is of a
// target.
func FuzzPackets(f *testing.F) {
	m := &Maker{from: source, targets: targets, nonce: 1}
	for _, transport := range []sim.Transport{sim.TCP, sim.UDP} {
		probe := m.Append(nil, transport, 0, 443)
		f.Add(probe)
		refused := append([]byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, 1, 0, 0, 198, 18, 0, 3, 198, 18, 0, 2, 3, 3, 0, 0, 0, 0, 0, 0}, probe...)
		f.Add(refused)
	}
	f.Add([]byte{0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 198, 18, 0, 3, 198, 18, 0, 2, 1, 187, 0xf0, 0xb0, 0, 0, 0, 0, 0, 1, 1, 188, 0x50, 0x14, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, packet []byte) {
		isTarget := func(a netip.Addr) bool { return a == targets[0] || a == targets[1] }
		if p, ok := m.Probe(packet); ok && !isTarget(p.Target.Addr()) {
			t.Fatalf("a probe to %v", p.Target)
		}
		if a, ok := m.Answer(packet); ok && !isTarget(a.Target.Addr()) {
			t.Fatalf("an answer for %v", a.Target)
		}
	})
}
