package relay

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/stun"
)

// The sizes that STUN framing adds (RFC 8489 sections 5 and 14).
const (
	headerSize          = 20
	attributeHeaderSize = 4
)

// request is a STUN request of a client.
type request struct {
	client netip.AddrPort
	id     [pion.TransactionIDSize]byte
	method pion.Method
	size   int // bytes that came
	// attributes are those that count: all up to MESSAGE-INTEGRITY.
	attributes  pion.Attributes
	fingerprint bool // the client signs with FINGERPRINT, so we do
	username    string
	account     string
	by          Authenticator
	key         stun.Integrity // nil before authentication
}

// fromClient handles a datagram that is not ChannelData.
func (s *Server) fromClient(now time.Time, client netip.AddrPort, payload []byte) {
	m, err := s.parser.Parse(payload)
	if err != nil {
		s.stats.DroppedMalformed++
		return
	}
	switch m.Type.Class {
	case pion.ClassIndication:
		if m.Type.Method == pion.MethodSend {
			s.fromSend(now, client, m)
		}
		// A Binding indication keeps a mapping alive and is never answered
		// (RFC 8489 section 6.3.2); other methods have no indications for us.
		return
	case pion.ClassRequest:
	default:
		// Responses answer nothing that we asked, and an error answered by an
		// error would go round for ever.
		s.stats.DroppedUnsolicited++
		return
	}
	r := &request{
		client:      client,
		id:          m.TransactionID,
		method:      m.Type.Method,
		size:        len(payload),
		attributes:  m.Attributes,
		fingerprint: m.Contains(pion.AttrFingerprint),
	}
	switch r.method {
	case pion.MethodBinding:
		s.binding(now, r)
	case pion.MethodAllocate, pion.MethodRefresh, pion.MethodCreatePermission, pion.MethodChannelBind:
		if s.authenticate(now, r, m) {
			s.serve(now, r)
		}
	default:
		s.stats.DroppedUnsolicited++
	}
}

// serve handles an authenticated request.
func (s *Server) serve(now time.Time, r *request) {
	if unknown := unknownAttributes(r.attributes); len(unknown) > 0 {
		s.refuseUnknown(now, r, unknown)
		return
	}
	switch r.method {
	case pion.MethodAllocate:
		s.allocate(now, r)
	case pion.MethodRefresh:
		s.refresh(now, r)
	case pion.MethodCreatePermission:
		s.createPermission(now, r)
	case pion.MethodChannelBind:
		s.channelBind(now, r)
	}
}

// binding answers where the client is seen (RFC 8489 section 12.2). Whoever
// authenticates it gets no integrity back: it is STUN's, not TURN's.
func (s *Server) binding(now time.Time, r *request) {
	if unknown := unknownAttributes(r.attributes); len(unknown) > 0 {
		s.refuseUnknown(now, r, unknown)
		return
	}
	s.succeed(now, r, func(w *stun.Writer) { w.XORAddress(pion.AttrXORMappedAddress, r.client) })
}

// authenticate checks the long-term credentials in the order of RFC 8489
// section 9.2.4, answers what fails, and leaves in r only what is vouched for.
// Nothing is remembered of those who fail.
func (s *Server) authenticate(now time.Time, r *request, m *pion.Message) bool {
	if len(r.attributes) == 0 {
		// Every request that we authenticate has attributes; a bare header is
		// a flood that hopes for a longer answer.
		s.stats.DroppedMalformed++
		return false
	}
	at := attributeIndex(m.Attributes, pion.AttrMessageIntegrity)
	if at < 0 {
		s.challenge(now, r, pion.CodeUnauthorized)
		return false
	}
	r.attributes = m.Attributes[:at] // what follows is not vouched for
	username, haveUser := r.attributes.Get(pion.AttrUsername)
	realm, haveRealm := r.attributes.Get(pion.AttrRealm)
	nonce, haveNonce := r.attributes.Get(pion.AttrNonce)
	if !haveUser || !haveRealm || !haveNonce || len(username.Value) > maxUsername {
		s.refuse(now, r, pion.CodeBadRequest)
		return false
	}
	if !s.nonces.Valid(now, r.client, nonce.Value) {
		s.challenge(now, r, pion.CodeStaleNonce)
		return false
	}
	if !s.identify(now, r, m, string(username.Value)) || !bytes.Equal(realm.Value, []byte(s.cfg.Realm)) {
		r.key = nil // the answer is to nobody that we know
		s.challenge(now, r, pion.CodeUnauthorized)
		return false
	}
	return true
}

// identify finds the authenticator that has the password of a request. Each makes
// a check, of users that it does not know with a key that nobody has, so that the
// duration does not tell which names exist.
func (s *Server) identify(now time.Time, r *request, m *pion.Message, name string) bool {
	asked := s.cfg.Authenticators
	if a := s.allocationOf(now, r.client); a != nil && r.method != pion.MethodAllocate {
		asked = append(slices.Clip(asked), a.by) // which may be one of before
	}
	for _, by := range asked {
		password, known := by.Password(now, name)
		key := stun.LongTerm(name, s.cfg.Realm, password)
		if !known {
			key = s.nobody[:]
		}
		if key.Check(m) == nil && known {
			r.username, r.account, r.by, r.key = name, by.Account(name), by, key
			return true
		}
	}
	return false
}

// succeed sends a success response, signed if the request was.
func (s *Server) succeed(now time.Time, r *request, fill func(*stun.Writer)) []byte {
	return s.respond(now, r, pion.ClassSuccessResponse, fill)
}

// refuse sends an error response with the code's own reason.
func (s *Server) refuse(now time.Time, r *request, code pion.ErrorCode) {
	s.respond(now, r, pion.ClassErrorResponse, func(w *stun.Writer) { addErrorCode(w, code) })
}

// challenge sends 401 or 438 with what the client needs to try again.
func (s *Server) challenge(now time.Time, r *request, code pion.ErrorCode) {
	s.stats.Challenged++
	s.respond(now, r, pion.ClassErrorResponse, func(w *stun.Writer) {
		addErrorCode(w, code)
		w.Text(pion.AttrRealm, s.cfg.Realm)
		w.Text(pion.AttrNonce, s.nonces.Issue(now, r.client))
	})
}

// refuseUnknown sends 420 and which attributes were not understood.
func (s *Server) refuseUnknown(now time.Time, r *request, unknown []pion.AttrType) {
	s.respond(now, r, pion.ClassErrorResponse, func(w *stun.Writer) {
		addErrorCode(w, pion.CodeUnknownAttribute)
		var types []byte
		for _, t := range unknown {
			types = binary.BigEndian.AppendUint16(types, t.Value())
		}
		w.Bytes(pion.AttrUnknownAttributes, types)
	})
}

// respond builds and sends a response. Answers to those who have not proved who
// they are cost their source's budget.
func (s *Server) respond(now time.Time, r *request, class pion.MessageClass, fill func(*stun.Writer)) []byte {
	w := stun.Write(r.method, class, r.id, responseRoom)
	fill(&w)
	w.Sign(r.key)
	if r.fingerprint {
		w.Fingerprint()
	}
	raw := w.Raw()
	if r.key == nil && !s.budget.spend(now, r.client.Addr(), r.size, len(raw)) {
		s.stats.DroppedBudget++
		return nil
	}
	s.Send(listenSocket, r.client, raw)
	return raw
}

// responseRoom is what the attributes of a response take: two addresses, a
// lifetime, or realm and nonce, and integrity.
const responseRoom = 96

// addErrorCode writes ERROR-CODE with the reason phrase of the code's RFC.
func addErrorCode(w *stun.Writer, code pion.ErrorCode) { w.ErrorCode(int(code), reasons[code]) }

// reasons are the phrases of RFC 8489 section 14.8 and RFC 8656 section 19.
var reasons = map[pion.ErrorCode]string{
	pion.CodeBadRequest:             "Bad Request",
	pion.CodeUnauthorized:           "Unauthorized",
	pion.CodeForbidden:              "Forbidden",
	pion.CodeUnknownAttribute:       "Unknown Attribute",
	pion.CodeAllocMismatch:          "Allocation Mismatch",
	pion.CodeStaleNonce:             "Stale Nonce",
	pion.CodeAddrFamilyNotSupported: "Address Family not Supported",
	pion.CodeWrongCredentials:       "Wrong Credentials",
	pion.CodeUnsupportedTransProto:  "Unsupported Transport Protocol",
	pion.CodePeerAddrFamilyMismatch: "Peer Address Family Mismatch",
	pion.CodeAllocQuotaReached:      "Allocation Quota Reached",
	pion.CodeInsufficientCapacity:   "Insufficient Capacity",
}

// understood are the comprehension-required attributes that the server knows,
// besides those of authentication. DONT-FRAGMENT is not among them: see Server.
var understood = []pion.AttrType{
	pion.AttrChannelNumber,
	pion.AttrLifetime,
	pion.AttrXORPeerAddress,
	pion.AttrData,
	pion.AttrRequestedAddressFamily,
	pion.AttrEvenPort,
	pion.AttrRequestedTransport,
	pion.AttrReservationToken,
}

func unknownAttributes(attributes pion.Attributes) []pion.AttrType {
	return stun.UnknownRequired(&pion.Message{Attributes: attributes}, understood...)
}

// attributeIndex is the position of the first attribute of a type, or -1.
func attributeIndex(attributes pion.Attributes, t pion.AttrType) int {
	for i, a := range attributes {
		if a.Type == t {
			return i
		}
	}
	return -1
}
