package certify_test

import (
	"slices"
	"strings"
	"testing"

	"p2pmodel/nat"
)

// TestFurtherAxesAreMeasured: what is declared, and true, is part of the text;
// what is declared, and a lie, is found out, in this axis alone. An empty real
// behaviour is the declared one.
func TestFurtherAxesAreMeasured(t *testing.T) {
	for _, c := range []struct {
		declared, axis, real string
	}{
		{"port-restricted,fallback=random", "fallback", ""},
		{"port-restricted,fallback=random", "fallback", "port-restricted"},
		{"port-restricted", "fallback", "port-restricted,fallback=random"},
		{"symmetric,delta=2", "delta", ""},
		{"symmetric,delta=2", "delta", "symmetric"},
		{"symmetric", "delta", "symmetric,delta=7"},
		{"symmetric,delta=1024", "delta", ""},
		{"port-restricted,delta=3", "delta", ""},
		{"port-restricted,delta=3", "delta", "port-restricted"},
		{"symmetric,parity=keep", "parity", ""},
		{"symmetric,parity=keep", "parity", "symmetric"},
		{"symmetric", "parity", "symmetric,parity=keep"},
		{"symmetric,delta=2,parity=keep", "parity", ""},
		{"symmetric,delta=4,parity=keep", "parity", ""},
		{"port-restricted,parity=keep", "parity", ""},
		{"port-restricted,parity=keep", "parity", "port-restricted"},
		{"port-restricted,fallback=random,parity=keep", "parity", ""},
		{"port-restricted,fallback=random", "parity", "port-restricted,fallback=random,parity=keep"},
		{"symmetric,ports=random,parity=keep", "parity", ""},
		{"symmetric,ports=random", "parity", "symmetric,ports=random,parity=keep"},
		{"port-restricted,ports=block,block=64", "ports", ""},
		{"port-restricted,ports=block,block=512", "ports", "port-restricted,ports=random"},
		{"port-restricted,ports=random", "ports", "port-restricted,ports=block,block=512"},
		{"full-cone,ports=block,block=64", "block", ""},
		{"full-cone,ports=block,block=512", "block", "full-cone,ports=block,block=256"},
		{"full-cone,ports=block,block=256", "block", "full-cone,ports=block,block=512"},
		{"full-cone,ports=block,block=64,parity=keep", "block", ""},
		{"port-restricted,size=100", "size", ""},
		{"port-restricted,size=100", "size", "port-restricted,size=90"},
		{"port-restricted,size=100", "size", "port-restricted"},
		{"port-restricted,size=100", "full", "port-restricted,size=100,full=evict"},
		{"port-restricted,size=100,full=evict", "full", ""},
		{"port-restricted,size=100,full=evict", "full", "port-restricted,size=100"},
		{"port-restricted,size=100,full=evict", "size", "port-restricted,size=105,full=evict"},
		{"symmetric,range=40000-40299", "range", ""},
		{"symmetric,range=40000-40299", "range", "symmetric,range=40000-40199"},
		{"symmetric,range=40000-40299", "range", "symmetric,range=40000-40399"},
		{"symmetric,ports=random,range=40000-40299", "range", "symmetric,ports=random,range=40000-40289"},
		{"full-cone,timeout=1s,stream=3s", "stream", ""},
		{"full-cone,timeout=1s,stream=3s", "stream", "full-cone,timeout=1s"},
		{"symmetric,timeout=3s,stream=1s", "stream", ""},
		{"full-cone,timeout-tcp=2s", "timeout-tcp", ""},
		{"full-cone,timeout-tcp=2s", "timeout-tcp", "full-cone,timeout-tcp=3s"},
		{"symmetric,timeout-icmp=2s,timeout=1s", "timeout-icmp", ""},
		{"symmetric,timeout-icmp=2s", "timeout-icmp", "symmetric,timeout-icmp=1s"},
		{"kind=masquerade,timeout-icmp=2s,timeout-tcp=3s", "timeout-tcp", ""},
		{"full-cone,timeout=2s,refresh=inbound", "refresh", ""},
		{"full-cone,timeout=2s,refresh=inbound", "refresh", "full-cone,timeout=2s"},
		{"full-cone,timeout=2s", "refresh", "full-cone,timeout=2s,refresh=inbound"},
		{"full-cone,rotate=5s", "rotate", ""},
		{"full-cone,rotate=5s,timeout=2s", "rotate", ""},
		{"symmetric,rotate=5s", "rotate", "symmetric,rotate=8s"},
		{"symmetric,rotate=5s", "rotate", "symmetric"},
		{"port-restricted,kind=masquerade", "kind", ""},
		{"port-restricted,kind=masquerade,timeout=2s,stream=4s", "stream", ""},
		{"port-restricted,kind=masquerade,early-inbound=accept", "early-inbound", ""},
		{"port-restricted,kind=masquerade,early-inbound=accept", "early-inbound", "port-restricted,kind=masquerade"},
		{"port-restricted,kind=masquerade", "early-inbound", "port-restricted,kind=masquerade,early-inbound=accept"},
		{"port-restricted", "kind", "port-restricted,kind=masquerade"},
		{"port-restricted,kind=masquerade", "kind", "port-restricted"},
		{"kind=masquerade-random", "ports", ""},
		{"kind=masquerade-fully-random,timeout=1s", "timeout", ""},
	} {
		declared, axis := behavior(t, c.declared), nat.Axis(c.axis)
		if c.real != "" {
			checkOneLie(t, behavior(t, c.real), declared, axis)
			continue
		}
		r := measure(t, declared, declared, 1)
		if !r.OK() || !strings.Contains(","+r.Measured, ","+c.axis+"=") {
			t.Errorf("%s\ndeclared %s\nmeasured %s\n%s", c.declared, r.Declared, r.Measured, evidence(r))
		}
	}
}

// checkOneLie is for axes of which a lie may show in others, too.
func checkOneLie(t *testing.T, real, declared nat.Behavior, axis nat.Axis) {
	t.Helper()
	r := measure(t, real, declared, 1)
	for _, f := range r.Findings {
		if f.Axis == string(axis) && f.Measured != f.Declared && !r.OK() {
			return
		}
	}
	t.Errorf("%s claims to be %s: %s was not found out\ndeclared %s\nmeasured %s\n%s", real, declared, axis, r.Declared, r.Measured, evidence(r))
}

// TestBlocksOfSeveralAddresses: a host has a block of each.
func TestBlocksOfSeveralAddresses(t *testing.T) {
	for _, text := range []string{"full-cone,ports=block,block=64,pooling=arbitrary", "full-cone,ports=block,block=512,pooling=arbitrary", "symmetric,ports=block,block=128"} {
		b := behavior(t, text)
		if r := measure(t, b, b, 2); !r.OK() {
			t.Errorf("%s\ndeclared %s\nmeasured %s\n%s", text, r.Declared, r.Measured, evidence(r))
		}
	}
}

// TestNoSeedFalsifies: whatever ports the probe and the NAT draw, what is true is
// not denied.
func TestNoSeedFalsifies(t *testing.T) {
	for text, addresses := range map[string]int{
		"full-cone": 1, "symmetric": 1, "symmetric,ports=random": 1, "port-restricted-cone,fallback=random": 1, "port-restricted-cone,parity=keep": 1,
		"symmetric,parity=keep": 1, "symmetric,ports=random,range=40000-41999": 1, "full-cone,ports=block,block=64": 1,
		"symmetric,ports=block": 1, "full-cone,pooling=arbitrary": 2, "full-cone,ports=block": 2, "full-cone,ports=block,block=128,pooling=arbitrary": 2, "symmetric,ports=block,block=100,pooling=arbitrary": 5, "symmetric,parity=keep,delta=5,hairpin=external": 1, "symmetric,parity=keep,ports=preserve": 2, "kind=masquerade": 1, "kind=masquerade-random": 1, "symmetric,delta=7": 1,
	} {
		b := behavior(t, text)
		external := slices.Clone(externalAddrs)
		for len(external) < addresses {
			external = append(external, external[len(external)-1].Next())
		}
		external = external[:addresses]
		for seed := range uint64(40) {
			w := newWorld(t, b, external)
			for range seed {
				w.rand.Uint64() // the NAT draws from it, too
			}
			if r := w.certify(t, config(b, external, seed)); !r.OK() {
				t.Errorf("%s, seed %d: declared %s\nmeasured %s\n%s", text, seed, r.Declared, r.Measured, evidence(r))
			}
		}
	}
}
