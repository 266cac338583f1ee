package trial

import (
	"encoding/binary"
	"math/rand/v2"

	"p2pmodel/core/identity"
)

// source gives the bytes that machines draw: ids, nonces, jitter. It is fast rather
// than unpredictable, which nobody in a trial tries to exploit.
type source struct{ pcg rand.PCG }

// Streams of one seed. Those of players follow streamPlayers.
const (
	streamLab = iota
	streamKeys
	streamRendezvous
	streamRelay
	streamPlayers
)

// seed begins a stream of a seed.
func (s *source) seed(seed uint64, stream int) { s.pcg.Seed(mix(seed), mix(uint64(stream)+1)) }

// Read implements io.Reader.
func (s *source) Read(b []byte) (int, error) {
	rest := b
	for ; len(rest) >= 8; rest = rest[8:] {
		binary.LittleEndian.PutUint64(rest, s.pcg.Uint64())
	}
	if len(rest) > 0 {
		var word [8]byte
		binary.LittleEndian.PutUint64(word[:], s.pcg.Uint64())
		copy(rest, word[:])
	}
	return len(b), nil
}

// mix spreads neighbouring numbers over all (the finalizer of SplitMix64).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// ringSize is how many players there are in all: which of them meet, the seed says.
// A million trials then need no million keys, and two of them that met before know
// their secret. Nothing of a trial depends on keys but who of two controls.
const ringSize = 64

// strangers are the keys of all players, and the rendezvous' behind them; friends
// are the same, who remember the secrets that they share.
var (
	strangers = func() []identity.Key {
		keys := make([]identity.Key, ringSize+1)
		for i := range keys {
			keys[i] = identity.KeyFromSeed([identity.Size]byte{1: byte(i), 2: 0x7a})
		}
		return keys
	}()
	friends = identity.Circle(strangers...)
)

// drawKeys gives a key for each player, all different, and the rendezvous'.
func drawKeys(from *source, players int, ring []identity.Key) (keys []identity.Key, server identity.Key) {
	var order [ringSize]uint8
	for i := range order {
		order[i] = uint8(i)
	}
	keys = make([]identity.Key, players)
	for i := range keys {
		j := i + int(from.pcg.Uint64()%uint64(ringSize-i))
		order[i], order[j] = order[j], order[i]
		keys[i] = ring[order[i]]
	}
	return keys, ring[ringSize]
}
