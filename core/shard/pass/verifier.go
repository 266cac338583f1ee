package pass

import (
	"bytes"
	"crypto/ed25519"
	"slices"
	"sync"
	"time"

	"p2pmodel/core/shard/api/insidev1"
)

// cached is how many passes a Verifier remembers at least, and half of how many
// at most: a signature costs some 50 µs to check, a look into a map 0.1 µs.
const cached = 1 << 14

// Verifier checks passes by any of some public keys, and refuses those of a
// session that was attached anew since. Its methods may be called from any
// goroutine. What it remembers is bounded: passes by number, sessions by the
// life of a pass.
type Verifier struct {
	mu   sync.Mutex
	keys []ed25519.PublicKey
	// keyed counts the changes of keys.
	keyed uint64
	// Two halves: when the young one is full it becomes the old one, and what was
	// in that and not asked for since is forgotten.
	young, old map[string]*insidev1.Pass
	// newest is the highest generation seen of each session, for as long as an
	// earlier one's pass can be good.
	newest map[string]generation
	swept  time.Time
}

type generation struct {
	number uint64
	until  time.Time
}

// New makes a Verifier. Without keys it refuses everything until SetKeys.
func New(keys ...ed25519.PublicKey) *Verifier {
	v := &Verifier{newest: map[string]generation{}}
	v.SetKeys(keys...)
	return v
}

// SetKeys gives the keys that count from now on. Keys that are none (not 32
// bytes) are left out.
func (v *Verifier) SetKeys(keys ...ed25519.PublicKey) {
	v.mu.Lock()
	defer v.mu.Unlock()
	keys = slices.DeleteFunc(slices.Clone(keys), func(k ed25519.PublicKey) bool { return len(k) != ed25519.PublicKeySize })
	if v.young != nil && slices.EqualFunc(keys, v.keys, func(a, b ed25519.PublicKey) bool { return bytes.Equal(a, b) }) {
		return
	}
	v.keys = keys
	v.keyed++
	v.young, v.old = map[string]*insidev1.Pass{}, nil
}

// Verify gives what the pass says if it is good at this time. The result is
// shared: callers only read it. The time is a wall clock's, to be compared with
// that of the directory which signed; Agents renew a pass at half its life, so
// clocks may differ by less than that.
func (v *Verifier) Verify(raw []byte, now time.Time) (*insidev1.Pass, error) {
	if len(raw) == 0 {
		return nil, ErrMissing
	}
	v.mu.Lock()
	p, known := v.lookup(raw)
	keys, keyed := v.keys, v.keyed
	v.mu.Unlock()
	if !known {
		var err error
		if p, err = open(keys, raw); err != nil {
			return nil, err
		}
	}
	ends := time.UnixMilli(p.ExpiresMs)
	switch {
	case !now.Before(ends):
		return nil, ErrExpired
	case ends.Sub(now) > MaxLife:
		return nil, ErrMalformed
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if !known && keyed == v.keyed {
		v.remember(string(raw), p)
	}
	if err := v.attached(p, ends, now); err != nil {
		return nil, err
	}
	return p, nil
}

// Signed gives what a pass says if its signature is good, be it expired or
// superseded: to those who look that up themselves.
func (v *Verifier) Signed(raw []byte) (*insidev1.Pass, error) {
	if len(raw) == 0 {
		return nil, ErrMissing
	}
	v.mu.Lock()
	p, known := v.lookup(raw)
	keys := v.keys
	v.mu.Unlock()
	if known {
		return p, nil
	}
	return open(keys, raw)
}

// lookup finds a pass whose signature was checked before.
func (v *Verifier) lookup(raw []byte) (*insidev1.Pass, bool) {
	if p, ok := v.young[string(raw)]; ok {
		return p, true
	}
	p, ok := v.old[string(raw)]
	if ok {
		v.remember(string(raw), p)
	}
	return p, ok
}

func (v *Verifier) remember(raw string, p *insidev1.Pass) {
	if len(v.young) >= cached {
		v.young, v.old = map[string]*insidev1.Pass{}, v.young
	}
	v.young[raw] = p
}

// attached refuses a generation before the newest one seen. That one's end
// outlasts the passes of earlier ones, as they were signed before it for an
// equal time.
func (v *Verifier) attached(p *insidev1.Pass, ends, now time.Time) error {
	if now.Sub(v.swept) >= time.Minute || now.Before(v.swept) {
		for s, g := range v.newest {
			if !now.Before(g.until) {
				delete(v.newest, s)
			}
		}
		v.swept = now
	}
	g := v.newest[p.Session]
	if p.Generation < g.number {
		return ErrSuperseded
	}
	g.number = p.Generation
	if ends.After(g.until) {
		g.until = ends
	}
	v.newest[p.Session] = g
	return nil
}
