package relay

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/stun"
)

// authenticateBy takes over who may use the relay. Names that are known beforehand may
// come as USERHASH; that they may is declared if all are.
func (s *Server) authenticateBy(as []Authenticator) {
	s.cfg.Authenticators = as
	s.hashes = make(map[[sha256.Size]byte]string)
	security := stun.SecurityPasswordAlgorithms | stun.SecurityUsernameAnonymity
	for _, by := range as {
		list, lists := by.(Lister)
		if !lists {
			security &^= stun.SecurityUsernameAnonymity
			continue
		}
		for name := range list.Usernames() {
			s.hashes[stun.Userhash(name, s.cfg.Realm)] = name
		}
	}
	s.nonces.Declare(security)
}

// authenticate checks the long-term credentials by RFC 8489 section 9.2.4, answers
// what fails, and leaves in r only what is vouched for. The nonce is checked before
// anything is looked up, and nothing is remembered of those who fail.
func (s *Server) authenticate(now time.Time, r *request, m *pion.Message) bool {
	if len(r.attributes) == 0 {
		// Every request that we authenticate has attributes; a bare header is
		// a flood that hopes for a longer answer.
		s.stats.DroppedMalformed++
		return false
	}
	at := integrityAt(m.Attributes)
	if at < 0 {
		s.challenge(now, r, pion.CodeUnauthorized)
		return false
	}
	r.attributes = m.Attributes[:at] // what follows is not vouched for
	name, named := s.nameOf(r)
	realm, haveRealm := r.attributes.Get(pion.AttrRealm)
	nonce, haveNonce := r.attributes.Get(pion.AttrNonce)
	if !named || !haveRealm || !haveNonce {
		s.refuse(now, r, pion.CodeBadRequest)
		return false
	}
	if !s.nonces.Valid(now, r.client, nonce.Value) {
		s.challenge(now, r, pion.CodeStaleNonce)
		return false
	}
	algorithm := s.algorithmOf(r, nonce.Value)
	if algorithm == 0 {
		s.refuse(now, r, pion.CodeBadRequest)
		return false
	}
	if !s.identify(now, r, m, name, algorithm) || !bytes.Equal(realm.Value, []byte(s.cfg.Realm)) {
		r.signer = signer{} // the answer is to nobody that we know
		s.challenge(now, r, pion.CodeUnauthorized)
		return false
	}
	return true
}

// nameOf is the username, or the one that USERHASH stands for; empty where it stands
// for none that we know. False: there is neither, or one of the wrong size.
func (s *Server) nameOf(r *request) (name string, ok bool) {
	if raw, present := r.attributes.Get(pion.AttrUsername); present {
		return string(raw.Value), len(raw.Value) <= maxUsername
	}
	raw, present := r.attributes.Get(pion.AttrUserhash)
	if !present || len(raw.Value) != sha256.Size {
		return "", false
	}
	return s.hashes[[sha256.Size]byte(raw.Value)], true
}

// algorithmOf is the password algorithm of a request, or 0 where the rules against
// falling back are broken: who names one repeats the list that came with the nonce,
// unchanged, and takes one of it. Who names none is a client of RFC 5389.
func (s *Server) algorithmOf(r *request, nonce []byte) stun.PasswordAlgorithm {
	list, haveList := r.attributes.Get(pion.AttrPasswordAlgorithms)
	one, haveOne := r.attributes.Get(pion.AttrPasswordAlgorithm)
	if security, _ := stun.SecurityOf(nonce); security&stun.SecurityPasswordAlgorithms == 0 || !haveList && !haveOne {
		return stun.PasswordMD5
	}
	if !haveList || !haveOne || !bytes.Equal(list.Value, s.algorithms) {
		return 0
	}
	chosen, ok := stun.ParsePasswordAlgorithms(one.Value)
	offered, _ := stun.ParsePasswordAlgorithms(s.algorithms)
	if !ok || len(chosen) != 1 || !slices.Contains(offered, chosen[0]) {
		return 0
	}
	return chosen[0]
}

// identify finds the authenticator that has the password of a request. Each makes
// a check, of users that it does not know with a key that nobody has, so that the
// duration does not tell which names exist.
func (s *Server) identify(now time.Time, r *request, m *pion.Message, name string, algorithm stun.PasswordAlgorithm) bool {
	asked := s.cfg.Authenticators
	if a := s.claimed(now, r); a != nil {
		asked = append(slices.Clip(asked), a.by) // which may be one of before
	}
	with := signer{sha256: m.Contains(pion.AttrMessageIntegritySHA256)}
	for _, by := range asked {
		password, known := by.Password(now, name)
		with.key = algorithm.Key(name, s.cfg.Realm, password)
		if !known {
			with.key = s.nobody[:]
		}
		if with.check(m) == nil && known {
			r.username, r.account, r.by, r.signer = name, by.Account(name), by, with
			return true
		}
	}
	return false
}

// claimed is the allocation that a request says is its sender's: that of its 5-tuple or
// of its ticket.
func (s *Server) claimed(now time.Time, r *request) *allocation {
	if r.method == pion.MethodAllocate {
		return nil
	}
	if a := s.allocationOf(now, r.via, r.client); a != nil {
		return a
	}
	t, _ := r.attributes.Get(stun.AttrMobilityTicket)
	return s.ticketed(now, t.Value)
}
