// Package secure makes what two peers say to each other secret and authentic: a
// Channel for each session, without I/O. It is the Noise Protocol Framework
// (revision 34) with the handshake KK between the peers' static X25519 keys, of
// which each knows the other's before it begins, since a peer's key is its name:
//
//	Noise_KK_25519_ChaChaPoly_SHA256
//	  -> s
//	  <- s
//	  ...
//	  -> e, es, ss
//	  <- e, ee, se
//
// KK sends no static key at all; IK would send the initiator's, to somebody who has
// it. The prologue binds the protocol's version, the session's id, both ids and the
// number of the handshake. Who initiates needs no agreement: the peer with the
// smaller id does, always, so that two handshakes never cross.
//
// A handshake has no datagrams of its own. Its messages ride on the session's
// connectivity checks and on their answers, as DTLS does on STUN in
// draft-hancke-webrtc-sped: every check and every answer of the initiator carries
// message 1 until message 2 has come, every one of the responder carries message 2
// until it is acknowledged. So an answered check is a finished handshake, and there
// is no round trip that is not a check's; what is lost is sent again when checks
// are; whoever cannot make a check makes no peer compute anything; and nobody is
// sent more than a check's worth.
//
// What the framework says of the payloads (sections 7.7 and 7.8; source, destination):
//
//	message 1                         1, 2  the number of a key, nothing more
//	message 2                         2, 4  the same
//	data of the responder before it   2, 4  forward secret but against who has the initiator's
//	  has heard that message 2 came         static key and forged message 1
//	data after that, both ways        2, 5  forward secret; resistant to key compromise impersonation
//
// Message 1 may be replayed: the number of the handshake, which only grows, and the
// message itself, which is remembered, make a copy mean nothing. There is no data in
// either message (no 0-RTT), so that nothing can be replayed in them. Who has stolen
// a peer's static key can make checks as that peer, and as others towards that peer,
// but finishes no handshake with it as somebody else: data is safe from that.
//
// Keys are replaced by a new handshake under the same session, each some minutes or
// frames, while the old ones go on: the initiator uses new keys when message 2
// comes, the responder when it knows that; frames under way are accepted for a short
// time. Ephemeral keys are forgotten with the handshake, keys after that time.
package secure
