package certify

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
)

// marked are the bytes of a datagram: marker, number, and padding that keeps it
// from looking like any protocol's message.
const marked = 16

// payload is what a shot carries.
func (p *Probe) payload(s *shot) []byte {
	payload := make([]byte, s.size)
	copy(payload, p.marker[:])
	binary.BigEndian.PutUint32(payload[8:], s.id)
	if s.text {
		return invitation(s, hex.EncodeToString(payload[:12]))
	}
	for i := marked; i < len(payload); i++ {
		payload[i] = byte(i) // so that fragments in a wrong place show
	}
	return payload
}

// numberOf gives which shot a payload is of, even where something on the way
// changed it.
func (p *Probe) numberOf(payload []byte) (int, bool) {
	head := payload
	if !bytes.HasPrefix(payload, p.marker[:]) {
		at := bytes.Index(payload, []byte(hex.EncodeToString(p.marker[:])))
		if at < 0 || len(payload) < at+24 {
			return 0, false
		}
		head = make([]byte, 12)
		if _, err := hex.Decode(head, payload[at:at+24]); err != nil {
			return 0, false
		}
	}
	if len(head) < 12 {
		return 0, false
	}
	id := binary.BigEndian.Uint32(head[8:])
	return int(id), int64(id) < int64(len(p.shots))
}

// invitation is a message of SIP (RFC 3261), which carries addresses of its
// sender: what ALGs rewrite first of all.
func invitation(s *shot, id string) []byte {
	body := fmt.Sprintf("v=0\r\no=- 1 1 IN IP4 %s\r\ns=-\r\nc=IN IP4 %[1]s\r\nt=0 0\r\nm=audio %d RTP/AVP 0\r\n", s.from.local.Addr(), s.from.local.Port()+2)
	return fmt.Appendf(nil, "INVITE sip:probe@%s SIP/2.0\r\nVia: SIP/2.0/UDP %s;branch=z9hG4bK%s\r\nMax-Forwards: 70\r\nFrom: <sip:probe@%[2]s>;tag=1\r\nTo: <sip:probe@%[1]s>\r\n"+
		"Call-ID: %[3]s\r\nCSeq: 1 INVITE\r\nContact: <sip:probe@%[2]s>\r\nContent-Type: application/sdp\r\nContent-Length: %[4]d\r\n\r\n%[5]s",
		s.to, s.from.local, id, len(body), body)
}
