//go:build linux

package ruleset_test

import (
	"fmt"
	"net/netip"
	"testing"

	"p2pmodel/nat"
)

var dependences = []nat.Dependence{nat.EndpointIndependent, nat.AddressDependent, nat.AddressAndPortDependent}

// Every mapping × filtering × allocation is what it claims, seen from outside.
func TestPairs(t *testing.T) {
	for _, mapping := range dependences {
		for _, filtering := range dependences {
			for _, ports := range []nat.Allocation{nat.Preserve, nat.Sequential, nat.Random} {
				b := nat.Behavior{
					Mapping: mapping, Filtering: filtering, Ports: ports,
					Range: nat.PortRange{Low: 40000, High: 49999},
				}
				t.Run(b.String(), func(t *testing.T) { checkPair(t, b) })
			}
		}
	}
}

func checkPair(t *testing.T, b nat.Behavior) {
	n := behind(t, b, 1)
	defer func() {
		if t.Failed() {
			t.Log(n.dump())
		}
	}()
	inside := n.hosts[0].udp(hostAddr(0) + ":41234")
	a1, a2 := n.outside.udp(outsideA+":3478"), n.outside.udp(outsideA+":3479")
	b1, b2 := n.outside.udp(outsideB+":3478"), n.outside.udp(outsideB+":3479")

	first := mapped(inside, a1)
	filtering := nat.AddressAndPortDependent
	if reaches(a2, first, inside) {
		filtering = nat.AddressDependent
	}
	if reaches(b1, first, inside) {
		filtering = nat.EndpointIndependent
	}
	if filtering != b.Filtering {
		t.Errorf("filtering is %v, declared %v", filtering, b.Filtering)
	}
	if !reaches(a1, first, inside) {
		t.Errorf("the answer to %v does not arrive", first)
	}

	all := []netip.AddrPort{first, mapped(inside, a2), mapped(inside, b1), mapped(inside, b2)}
	distinct := map[netip.AddrPort]bool{}
	for i, ext := range all {
		distinct[ext] = true
		if ext.Addr() != externalAddrs[0] || ext.Port() < b.Range.Low || ext.Port() > b.Range.High {
			t.Errorf("mapping %d is %v, outside of %v:%v", i, ext, externalAddrs[0], b.Range)
		}
	}
	if want := map[nat.Dependence]int{0: 1, 1: 2, 2: 4}[b.Mapping]; len(distinct) != want || b.Mapping == nat.AddressDependent && all[0] != all[1] {
		t.Errorf("mapping is not %v: to %v %v %v %v it is %v", b.Mapping, a1.local(), a2.local(), b1.local(), b2.local(), all)
	}

	var want []uint16 // in order of making
	switch b.Ports {
	case nat.Preserve:
		want = []uint16{41234, 40000, 40001, 40002}
	case nat.Sequential:
		want = []uint16{40000, 40001, 40002, 40003}
	}
	var made []uint16
	seen := map[netip.AddrPort]bool{}
	for _, ext := range all {
		if !seen[ext] {
			seen[ext], made = true, append(made, ext.Port())
		}
	}
	if want != nil && fmt.Sprint(made) != fmt.Sprint(want[:len(made)]) {
		t.Errorf("ports are %v, want %v", made, want[:len(made)])
	}
}
