package shard

import (
	"hash/fnv"

	"p2pmodel/core/shard/api/agentv1"
)

// PeersDigest is a number for who is in a mesh, but for one of the players. The
// order does not matter. Nobody is protected by it: it is for finding out that
// events got lost.
func PeersDigest(peers []*agentv1.Peer, without string) (digest uint64) {
	for _, p := range peers {
		if p.Player == without {
			continue
		}
		h := fnv.New64a()
		_, _ = h.Write([]byte(p.Player))
		_, _ = h.Write([]byte{0})
		_, _ = h.Write(p.PeerId)
		digest ^= h.Sum64()
	}
	return digest
}
