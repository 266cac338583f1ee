package rendezvous

import (
	"bytes"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/identity"
	"p2pmodel/core/stun"
)

// clientCorpus are messages that a client may get.
func clientCorpus(key stun.Integrity) [][]byte {
	peer := idAttribute(stun.AttrPeerID, testKey(2).ID())
	session := stun.Attribute{Type: stun.AttrSession, Value: make([]byte, SessionSize)}
	at := stun.XORAddress{Type: pion.AttrXORPeerAddress, Address: serverAddress}
	offer := stun.Attribute{Type: stun.AttrOffer, Value: []byte("offer")}
	room := stun.Attribute{Type: stun.AttrRoom, Value: []byte("hall")}
	return [][]byte{
		seal(stun.MethodIntroduce, pion.ClassRequest, transactionID{1}, key, peer, session, at, offer, sequenceAttribute(9)).Raw,
		seal(stun.MethodMember, pion.ClassRequest, transactionID{2}, key, peer, room,
			stun.Attribute{Type: stun.AttrPresence, Value: []byte{1}}, sequenceAttribute(9)).Raw,
		seal(stun.MethodRegister, pion.ClassSuccessResponse, transactionID{3}, key,
			stun.XORAddress{Type: pion.AttrXORMappedAddress, Address: serverAddress}, stun.Uint32(pion.AttrLifetime, 120), sequenceAttribute(8)).Raw,
		seal(stun.MethodRegister, pion.ClassErrorResponse, transactionID{4}, nil, pion.ErrorCodeAttribute{Code: 401},
			stun.Attribute{Type: pion.AttrNonce, Value: []byte("nonce")}, idAttribute(stun.AttrServerKey, keyServer.ID())).Raw,
		seal(stun.MethodConnect, pion.ClassSuccessResponse, transactionID{5}, key, at, offer, session).Raw,
		seal(stun.MethodJoin, pion.ClassSuccessResponse, transactionID{6}, key, room,
			membersAttribute([]identity.ID{testKey(2).ID(), testKey(3).ID()}), idAttribute(stun.AttrCursor, testKey(3).ID())).Raw,
	}
}

// resign gives a message another transaction id and a MESSAGE-INTEGRITY and
// FINGERPRINT that are right, so that a fuzzer reaches what lies behind them;
// what is no message stays as it is.
func resign(payload, id []byte, key stun.Integrity) []byte {
	m := &pion.Message{Raw: bytes.Clone(payload)}
	if m.Decode() != nil {
		return payload
	}
	var attributes []pion.Setter
	for _, a := range m.Attributes {
		if a.Type != pion.AttrMessageIntegrity && a.Type != pion.AttrFingerprint {
			attributes = append(attributes, stun.Attribute{Type: a.Type, Value: a.Value})
		}
	}
	if id == nil {
		id = m.TransactionID[:]
	}
	built, err := stun.Build(m.Type.Method, m.Type.Class, transactionID(id), append(attributes, key, pion.Fingerprint)...)
	if err != nil {
		return payload
	}
	return built.Raw
}

// sign makes a message one that the server has to believe.
func (b *bench) sign(by identity.Key, m *pion.Message) []byte {
	key, err := sharedKey(by, b.ID(), by.ID(), b.ID())
	if err != nil {
		b.t.Fatal(err)
	}
	attributes := []pion.Setter{idAttribute(stun.AttrPeerID, by.ID()),
		stun.Attribute{Type: pion.AttrNonce, Value: []byte(b.nonces.Issue(b.now, clientAddress))}}
	for _, a := range m.Attributes {
		switch a.Type {
		case pion.AttrMessageIntegrity, pion.AttrFingerprint, pion.AttrNonce, stun.AttrPeerID:
		default:
			attributes = append(attributes, stun.Attribute{Type: a.Type, Value: a.Value})
		}
	}
	signed, err := stun.Build(m.Type.Method, m.Type.Class, m.TransactionID, append(attributes, key, pion.Fingerprint)...)
	if err != nil {
		return m.Raw
	}
	return signed.Raw
}

// serverCorpus are messages that a server may get.
func serverCorpus(g *gate) [][]byte {
	peer := idAttribute(stun.AttrPeerID, testKey(1).ID())
	target := idAttribute(stun.AttrTarget, testKey(2).ID())
	session := stun.Attribute{Type: stun.AttrSession, Value: make([]byte, SessionSize)}
	offer := stun.Attribute{Type: stun.AttrOffer, Value: []byte("offer")}
	room := stun.Attribute{Type: stun.AttrRoom, Value: []byte("hall")}
	padding := stun.Attribute{Type: pion.AttrPadding, Value: make([]byte, challengePadding)}
	classic := binding(changeRequest(changePort)).Raw
	copy(classic[4:8], "abcd")
	admitted := showing(g.ticket(1, "hall", time.Hour))
	return [][]byte{
		binding().Raw, binding(changeRequest(6), padding).Raw, classic,
		binding(stun.Attribute{Type: pion.AttrResponsePort, Value: []byte{1, 2, 0, 0}}, pion.Fingerprint).Raw,
		seal(stun.MethodRegister, pion.ClassRequest, transactionID{1}, nil, peer, padding).Raw,
		seal(stun.MethodRegister, pion.ClassRequest, transactionID{2}, nil, sequenceAttribute(1), offer).Raw,
		seal(stun.MethodRegister, pion.ClassRequest, transactionID{8}, nil, sequenceAttribute(1), offer, admitted).Raw,
		seal(stun.MethodRegister, pion.ClassRequest, transactionID{9}, nil, sequenceAttribute(1), offer, admitted, stun.Uint32(pion.AttrLifetime, 9)).Raw,
		seal(stun.MethodRegister, pion.ClassRequest, transactionID{3}, nil, sequenceAttribute(1), stun.Uint32(pion.AttrLifetime, 0)).Raw,
		seal(stun.MethodConnect, pion.ClassRequest, transactionID{4}, nil, sequenceAttribute(1), target, session, offer).Raw,
		seal(stun.MethodJoin, pion.ClassRequest, transactionID{5}, nil, sequenceAttribute(1), room, idAttribute(stun.AttrCursor, testKey(3).ID())).Raw,
		seal(stun.MethodLeave, pion.ClassRequest, transactionID{6}, nil, sequenceAttribute(1), room).Raw,
		seal(stun.MethodIntroduce, pion.ClassSuccessResponse, transactionID{7}, nil).Raw,
	}
}
