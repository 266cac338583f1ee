//go:build linux

package ruleset_test

import (
	"net/netip"
	"testing"

	"p2pmodel/nat"
)

// What becomes of a packet from one inside host to the external side of another.
func TestHairpin(t *testing.T) {
	tests := []struct {
		name      string
		hairpin   nat.Hairpin
		filtering nat.Dependence
		knows     bool // whether the receiver sent to the sender's external side before
		arrives   bool
		external  bool // whether the source is the sender's external side
	}{
		{"none", nat.HairpinNone, nat.EndpointIndependent, false, false, false},
		{"external", nat.HairpinExternal, nat.EndpointIndependent, false, true, true},
		{"external, the filter does not know the sender", nat.HairpinExternal, nat.AddressAndPortDependent, false, false, true},
		{"external, the filter knows the sender", nat.HairpinExternal, nat.AddressAndPortDependent, true, true, true},
		{"internal", nat.HairpinInternal, nat.EndpointIndependent, false, true, false},
		{"internal, filters do not judge", nat.HairpinInternal, nat.AddressAndPortDependent, false, true, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := behind(t, nat.Behavior{Hairpin: tt.hairpin, Filtering: tt.filtering}, 2)
			server := n.outside.udp(outsideA + ":3478")
			a, b := n.hosts[0].udp(hostAddr(0)+":5000"), n.hosts[1].udp(hostAddr(1)+":6000")
			extA, extB := mapped(a, server), mapped(b, server)
			if tt.knows {
				b.send(extA, "knock")
				a.poll()
			}
			a.send(extB, "hello")
			from, text, ok := b.poll()
			if ok != tt.arrives {
				t.Fatalf("arrives: %v, want %v\n%s", ok, tt.arrives, n.dump())
			}
			if !ok {
				return
			}
			want := netip.MustParseAddrPort(hostAddr(0) + ":5000")
			if tt.external {
				want = extA
			}
			if text != "hello" || from != want {
				t.Errorf("got %q from %v, want %q from %v", text, from, "hello", want)
			}
			if tt.external && tt.filtering == nat.EndpointIndependent {
				a.send(extA, "self")
				if from, _, ok := a.poll(); !ok || from != want {
					t.Errorf("to its own external side: arrives %v from %v, want from %v", ok, from, want)
				}
			}
		})
	}
}
