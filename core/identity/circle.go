package identity

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
)

// circle remembers what its keys share.
type circle struct {
	index map[ID]int
	// secrets are those of all pairs, of the first key with itself and so on: those
	// of key i begin at i·(i+1)/2.
	secrets []atomic.Pointer[[Size]byte]
	// ephemeral are the members that handshakes use.
	ephemeral []Key
}

// Circle gives keys that remember the secrets that they share with each other: that
// of a pair is computed once, whoever of the two asks first. It is for who holds
// all private keys anyway, as a simulation in which the same peers meet again and
// again. The keys are safe for concurrent use, and equal those given in all else but
// for Ephemeral.
func Circle(keys ...Key) []Key {
	n := len(keys)
	members := append(append(make([]Key, 0, n+supplied), keys...), supply()...)
	c := &circle{index: make(map[ID]int, len(members)), secrets: make([]atomic.Pointer[[Size]byte], len(members)*(len(members)+1)/2)}
	for i := range members {
		c.index[members[i].id] = i
		members[i].circle = c
	}
	c.ephemeral = members[n:]
	return members[:n:n]
}

// supplied is how many ephemeral keys all circles have: enough that the two sides of
// a handshake rarely have the same one.
const supplied = 32

var supply = sync.OnceValue(func() []Key {
	keys := make([]Key, supplied)
	for i := range keys {
		keys[i] = KeyFromSeed([Size]byte{1: byte(i), 2: 0xe9})
	}
	return keys
})

// Ephemeral draws a key of r for one handshake. It is NewKey, but for members of a
// circle: those draw from a few keys, so that what ephemeral keys share is computed
// once as well, and no secret is one.
func (k Key) Ephemeral(r io.Reader) (Key, error) {
	if k.circle == nil {
		return NewKey(r)
	}
	var seed [Size]byte
	if _, err := io.ReadFull(r, seed[:]); err != nil {
		return Key{}, fmt.Errorf("draw a key: %w", err)
	}
	return k.circle.ephemeral[int(seed[0])%supplied], nil
}

// secret is where the secret of two members is remembered; nil if the other one is
// no member.
func (c *circle) secret(own, other ID) *atomic.Pointer[[Size]byte] {
	j, known := c.index[other]
	if !known {
		return nil
	}
	i := c.index[own]
	if i < j {
		i, j = j, i
	}
	return &c.secrets[i*(i+1)/2+j]
}
