package directory

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/engine"
	"p2pmodel/core/shard/pass"
	"p2pmodel/core/shard/rpc"
)

const (
	// passKeys is the key of the keys of passes.
	passKeys = "pass-keys"
	// keyLife is how long a key signs. It is known keyLead before that, so that
	// every shard has it, and keyLag after, so that no pass outlives it.
	keyLife = 30 * 24 * time.Hour
	keyLead = 5 * time.Minute
	keyLag  = 2 * pass.MaxLife
)

// loadKeys makes the first key, if there is none.
func (s *Server) loadKeys(ctx context.Context) error {
	_, err := retry(ctx, func() (struct{}, error) {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		return struct{}{}, s.rotateKeys(ctx, time.Now())
	})
	if err != nil {
		return fmt.Errorf("directory %d: keys of passes: %w", s.cfg.Index, err)
	}
	return nil
}

// rotateKeys writes the keys if they have to change.
func (s *Server) rotateKeys(ctx context.Context, now time.Time) error {
	for range attempts {
		present, err := s.state.keys.get(ctx, passKeys)
		if err != nil && !errors.Is(err, engine.ErrNotFound) {
			return err
		}
		next, change := rotated(present.value, now)
		if !change {
			s.state.mu.Lock()
			s.keysChanged(passKeys, nil, next)
			s.state.mu.Unlock()
			return nil
		}
		if present.value == nil {
			_, err = s.state.keys.create(ctx, passKeys, next)
		} else {
			_, err = s.state.keys.update(ctx, passKeys, next, present.revision)
		}
		if !errors.Is(err, engine.ErrConflict) && !errors.Is(err, engine.ErrExists) {
			return err
		}
	}
	return again()
}

// rotated is what the keys have to be at a time, and whether that is new.
func rotated(present *insidev1.StoredKeys, now time.Time) (*insidev1.StoredKeys, bool) {
	next, change := &insidev1.StoredKeys{}, false
	age := func(k *insidev1.StoredKey) time.Duration { return now.Sub(time.UnixMilli(k.CreatedMs)) }
	for _, k := range present.GetKeys() {
		if age(k) < keyLife+keyLead+keyLag {
			next.Keys = append(next.Keys, k)
		} else {
			change = true
		}
	}
	if n := len(next.Keys); n == 0 || age(next.Keys[n-1]) >= keyLife {
		seed := make([]byte, ed25519.SeedSize)
		_, _ = rand.Read(seed) // never fails
		next.Keys = append(next.Keys, &insidev1.StoredKey{Seed: seed, CreatedMs: now.UnixMilli()})
		change = true
	}
	return next, change
}

// signing is the newest key that has been known for long enough, or the only one.
func signing(keys *insidev1.StoredKeys, now time.Time) ed25519.PrivateKey {
	var found *insidev1.StoredKey
	for _, k := range keys.GetKeys() {
		if found == nil || now.Sub(time.UnixMilli(k.CreatedMs)) >= keyLead {
			found = k
		}
	}
	if len(found.GetSeed()) != ed25519.SeedSize {
		return nil
	}
	return ed25519.NewKeyFromSeed(found.Seed)
}

// keysChanged takes keys into use. The lock is held.
func (s *Server) keysChanged(_ string, _, keys *insidev1.StoredKeys) {
	var public []ed25519.PublicKey
	for _, k := range keys.GetKeys() {
		if len(k.Seed) == ed25519.SeedSize {
			public = append(public, ed25519.NewKeyFromSeed(k.Seed).Public().(ed25519.PublicKey))
		}
	}
	raw := make([][]byte, 0, len(public))
	for _, k := range public {
		raw = append(raw, k)
	}
	s.verifier.SetKeys(public...)
	s.keys.Store(&keyring{proto.CloneOf(keys), raw})
}

// keyring is what is known of keys.
type keyring struct {
	stored *insidev1.StoredKeys
	public [][]byte
}

// publicKeys are what shards check passes by.
func (s *Server) publicKeys() [][]byte {
	if k := s.keys.Load(); k != nil {
		return k.public
	}
	return nil
}

// sign signs a pass.
func (s *Server) sign(p *insidev1.Pass) ([]byte, error) {
	var key ed25519.PrivateKey
	if k := s.keys.Load(); k != nil {
		key = signing(k.stored, time.Now())
	}
	if key == nil {
		return nil, rpc.Errorf(connect.CodeUnavailable, "the directory has no key to sign with")
	}
	return pass.Sign(key, p)
}
