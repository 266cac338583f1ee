package siege

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"time"
)

// stream is a host's connection to the machine.
type stream struct {
	to   netip.AddrPort
	raw  *net.TCPConn
	conn net.Conn
	from *bufio.Reader
}

func dial(from, to netip.AddrPort, secure *tls.Config) (*stream, error) {
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(from), Timeout: patience}
	c, err := d.Dial("tcp4", to.String())
	if err != nil {
		return nil, err
	}
	s := &stream{to: to, raw: c.(*net.TCPConn), conn: c}
	if secure != nil {
		s.conn = tls.Client(c, secure)
	}
	s.from = bufio.NewReader(s.conn)
	return s, nil
}

// end resets the connection, so that its addresses are free at once.
func (s *stream) end() {
	_ = s.raw.SetLinger(0)
	_ = s.raw.Close()
}

// channelData is the first byte from which messages are ChannelData (RFC 8656 section 12).
const channelData = 0x40

// framed is a message as streams carry it: ChannelData is padded (RFC 8656 section 12.5).
func framed(payload []byte) []byte {
	b := append([]byte(nil), payload...)
	if len(b) > 0 && b[0] >= channelData {
		b = append(b, make([]byte, -len(b)&3)...)
	}
	return b
}

// read gives the next message, without its padding.
func (s *stream) read() ([]byte, error) {
	_ = s.conn.SetReadDeadline(time.Now().Add(patience))
	head, err := s.from.Peek(4)
	if err != nil {
		return nil, err
	}
	size := int(binary.BigEndian.Uint16(head[2:])) + 20
	padding := 0
	if head[0] >= channelData {
		size -= 16
		padding = -size & 3
	}
	m := make([]byte, size)
	if _, err := io.ReadFull(s.from, m); err != nil {
		return nil, err
	}
	_, err = s.from.Discard(padding)
	return m, err
}
