package relay

import (
	"encoding/binary"
	"net/netip"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/sansio"
	"p2pmodel/core/stun"
)

// The sizes that STUN framing adds (RFC 8489 sections 5 and 14).
const (
	headerSize          = 20
	attributeHeaderSize = 4
)

// software is what SOFTWARE says of us, to those who have proved who they are.
const software = "p2pmodel"

// request is a STUN request of a client.
type request struct {
	client netip.AddrPort
	via    sansio.Socket // that it came to
	id     [pion.TransactionIDSize]byte
	method pion.Method
	size   int // bytes that came
	// attributes are those that count: all up to the first one of integrity.
	attributes  pion.Attributes
	fingerprint bool // the client signs with FINGERPRINT, so we do
	username    string
	account     string
	source      host
	by          Authenticator
	signer      signer // the zero value before authentication
	// A Refresh with the ticket of its allocation.
	moved bool
	shown ticket
}

func (r *request) flow() flow { return flowOf(r.via, r.client) }

// fromClient handles a datagram that is not ChannelData.
func (s *Server) fromClient(now time.Time, d sansio.Datagram) {
	m, err := s.parser.Parse(d.Payload)
	if err != nil {
		s.stats.DroppedMalformed++
		return
	}
	switch m.Type.Class {
	case pion.ClassIndication:
		if m.Type.Method == pion.MethodSend {
			s.fromSend(now, d, m)
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
		client:      d.Remote,
		via:         d.Socket,
		id:          m.TransactionID,
		method:      m.Type.Method,
		size:        len(d.Payload),
		attributes:  m.Attributes,
		fingerprint: m.Contains(pion.AttrFingerprint),
		source:      sourceOf(d.Remote.Addr()),
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
	if unknown := s.unknownAttributes(r.attributes); len(unknown) > 0 {
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
	if unknown := s.unknownAttributes(r.attributes); len(unknown) > 0 {
		s.refuseUnknown(now, r, unknown)
		return
	}
	s.succeed(now, r, func(w *stun.Writer) { w.XORAddress(pion.AttrXORMappedAddress, r.client) })
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
		w.ErrorCode(int(code), "") // no words: the answer must be short
		w.Text(pion.AttrRealm, s.cfg.Realm)
		w.Text(pion.AttrNonce, s.nonces.Issue(now, r.client))
		w.Bytes(pion.AttrPasswordAlgorithms, s.algorithms)
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
	r.signer.sign(&w)
	if r.fingerprint && !r.signer.none() { // answers to strangers are as short as can be
		w.Fingerprint()
	}
	raw := w.Raw()
	if r.signer.none() && r.via == listenSocket {
		if _, paid := s.credit.Spend(now, r.client.Addr(), r.size, len(raw)); !paid {
			s.stats.DroppedBudget++
			return nil
		}
	}
	s.Send(r.via, r.client, raw)
	return raw
}

// responseRoom is what the attributes of a response take: two addresses, a
// lifetime and a ticket, or realm and nonce, and integrity.
const responseRoom = 144

// addErrorCode writes ERROR-CODE with the reason phrase of the code's RFC.
func addErrorCode(w *stun.Writer, code pion.ErrorCode) { w.ErrorCode(int(code), reasons[code]) }

// reasons are the phrases of RFC 8489 section 14.8 and RFC 8656 section 19.
var reasons = map[pion.ErrorCode]string{
	stun.CodeTryAlternate:           "Try Alternate",
	stun.CodeMobilityForbidden:      "Mobility Forbidden",
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
// besides those of authentication.
func understood(dontFragment bool) []pion.AttrType {
	types := []pion.AttrType{
		pion.AttrChannelNumber,
		pion.AttrLifetime,
		pion.AttrXORPeerAddress,
		pion.AttrData,
		pion.AttrRequestedAddressFamily,
		pion.AttrEvenPort,
		pion.AttrRequestedTransport,
		pion.AttrReservationToken,
	}
	if dontFragment {
		types = append(types, pion.AttrDontFragment)
	}
	return types
}

func (s *Server) unknownAttributes(attributes pion.Attributes) []pion.AttrType {
	return stun.UnknownRequired(&pion.Message{Attributes: attributes}, s.understood...)
}
