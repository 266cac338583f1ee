// Package budget bounds what strangers can make a server send and do. Everything in
// it has a fixed size: a flood from forged addresses leaves nothing behind.
package budget

import (
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
)

// host is an address as a value to compare: IPv4 in mapped form.
type host [16]byte

// SourcePrefix is how long the prefix of an IPv6 network is that counts as one
// source: one host has as many addresses of it as it likes.
const SourcePrefix = 64

// Source is whom an address counts for: itself, or its IPv6 network.
func Source(a netip.Addr) netip.Addr {
	if a = a.Unmap(); a.Is4() {
		return a
	}
	p, err := a.WithZone("").Prefix(SourcePrefix)
	if err != nil {
		return a
	}
	return p.Addr()
}

// seed is what slots are chosen by, so that nobody picks whose slot to share.
type seed uint64

func newSeed(random io.Reader) (seed, error) {
	var b [8]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return 0, fmt.Errorf("draw the seed of a budget: %w", err)
	}
	return seed(binary.BigEndian.Uint64(b[:])), nil
}

// slot hashes a source to one of n (FNV-1a with a secret start, then a mixer, so that
// neighbours spread).
func (s seed) slot(source netip.Addr, n uint64) int {
	h := uint64(s) ^ 0xcbf29ce484222325
	for _, c := range Source(source).As16() {
		h = (h ^ uint64(c)) * 0x100000001b3
	}
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	return int(h % n)
}

// page is how many slots are made at once, when one of them is used first.
const page = 64
