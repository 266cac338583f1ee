package identity

import "sync/atomic"

// circle remembers what its keys share.
type circle struct {
	index map[ID]int
	// secrets are those of all pairs, of the first key with itself and so on: those
	// of key i begin at i·(i+1)/2.
	secrets []atomic.Pointer[[Size]byte]
}

// Circle gives keys that remember the secrets that they share with each other: that
// of a pair is computed once, whoever of the two asks first. It is for who holds
// all private keys anyway, as a simulation in which the same peers meet again and
// again. The keys are safe for concurrent use, and equal those given in all else.
func Circle(keys ...Key) []Key {
	c := &circle{index: make(map[ID]int, len(keys)), secrets: make([]atomic.Pointer[[Size]byte], len(keys)*(len(keys)+1)/2)}
	members := make([]Key, len(keys))
	for i, k := range keys {
		c.index[k.id] = i
		members[i] = k
		members[i].circle = c
	}
	return members
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
