package agent

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"sync"
)

// accessSize is the bytes of an access token, before its base64url.
const accessSize = 32

// accessHash is how access tokens are kept: what finds its way out of memory is
// no token.
type accessHash [sha256.Size]byte

func newAccess() (string, accessHash) {
	var raw [accessSize]byte
	rand.Read(raw[:])
	token := base64.RawURLEncoding.EncodeToString(raw[:])
	return token, hashAccess(token)
}

func hashAccess(token string) accessHash { return sha256.Sum256([]byte(token)) }

// sessions is the table of sessions that are attached.
type sessions struct {
	most     int
	mu       sync.Mutex
	byAccess map[accessHash]*session
	byID     map[string]*session
	reserved int
}

func newSessions(most int) *sessions {
	return &sessions{most: most, byAccess: map[accessHash]*session{}, byID: map[string]*session{}}
}

// reserve takes a place for a session that is about to come; it is given back by
// free, whatever has become of it.
func (t *sessions) reserve() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.byID)+t.reserved >= t.most {
		return false
	}
	t.reserved++
	return true
}

func (t *sessions) free() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.reserved--
}

// add puts a session in, and gives the attachment of the same one that it takes
// the place of. It does not take the place of a later one.
func (t *sessions) add(x *session, generation uint64) (old *session, added bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old = t.byID[x.id]
	if old != nil {
		if old.latest() > generation {
			return nil, false
		}
		delete(t.byAccess, old.access)
	}
	t.byID[x.id], t.byAccess[x.access] = x, x
	return old, true
}

func (t *sessions) remove(x *session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.byAccess, x.access)
	if t.byID[x.id] == x {
		delete(t.byID, x.id)
	}
}

// find gives the session of an access token.
func (t *sessions) find(token string) *session {
	if len(token) != base64.RawURLEncoding.EncodedLen(accessSize) {
		return nil
	}
	hash := hashAccess(token)
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byAccess[hash]
}

func (t *sessions) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.byID)
}

// each calls f for all that are attached at present.
func (t *sessions) each(f func(x *session)) {
	t.mu.Lock()
	all := make([]*session, 0, len(t.byID))
	for _, x := range t.byID {
		all = append(all, x)
	}
	t.mu.Unlock()
	for _, x := range all {
		f(x)
	}
}
