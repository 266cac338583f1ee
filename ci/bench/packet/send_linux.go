package packet

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// MostSegments is how many datagrams one message may become.
const MostSegments = 64

// Sender is the messages of sendmmsg. They alias what is queued until Flush.
type Sender struct {
	// Join makes one message of what is queued one after the other and can be one.
	Join bool
	// Mark is the mark (SO_MARK) of what is queued from now on; 0: none.
	Mark uint32

	last     message
	messages []mmsghdr
	vectors  []unix.Iovec
	names    []unix.RawSockaddrInet4
	control  []byte
	n, used  int // messages and vectors that are queued
	first    int // vector of the last message
}

// message is the last one that was queued.
type message struct {
	to                       netip.AddrPort
	mark                     uint32
	segment, segments, bytes int
	ended                    bool // by a shorter datagram
}

// The control messages of one message: a mark, and what UDP_SEGMENT says.
var (
	markSpace    = unix.CmsgSpace(4)
	segmentSpace = unix.CmsgSpace(2)
)

// mostBytes is what one message may have over IPv4.
const mostBytes = 65507

// joins reports whether another message can be part of the last one, and if so counts it.
func (s *Sender) joins(to netip.AddrPort, bytes, segment int) bool {
	count := (bytes + segment - 1) / segment
	if s.n > 0 && s.Join && !s.last.ended && s.last.to == to && s.last.mark == s.Mark && s.last.segment == segment &&
		s.last.segments+count <= MostSegments && s.last.bytes+bytes <= mostBytes {
		s.last.segments += count
		s.last.bytes += bytes
		s.last.ended = bytes%segment != 0
		return true
	}
	s.last = message{to, s.Mark, segment, count, bytes, bytes%segment != 0}
	return false
}

// NewSender makes room for so many messages.
func NewSender(n int) *Sender {
	s := &Sender{
		messages: make([]mmsghdr, n), vectors: make([]unix.Iovec, n*MostSegments), names: make([]unix.RawSockaddrInet4, n),
		control: make([]byte, n*controlLength),
	}
	for i := range n {
		c := s.control[i*controlLength:]
		h := (*unix.Cmsghdr)(unsafe.Pointer(&c[0]))
		h.Level, h.Type = unix.SOL_SOCKET, unix.SO_MARK
		h.SetLen(unix.CmsgLen(4))
		h = (*unix.Cmsghdr)(unsafe.Pointer(&c[markSpace]))
		h.Level, h.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
		h.SetLen(unix.CmsgLen(2))
	}
	return s
}

// Full says that nothing more can be queued.
func (s *Sender) Full() bool { return s.n == len(s.messages) }

// Queue adds a message to an address, or to where the socket is connected if that is
// the zero value: datagrams of segment bytes, the last one perhaps shorter, of which skip
// bytes are left out of each at its beginning. There are at most MostSegments.
func (s *Sender) Queue(to netip.AddrPort, payload []byte, segment, skip int) {
	joined := s.joins(to, len(payload), segment)
	if joined {
		s.n--
	}
	m, name := &s.messages[s.n], &s.names[s.n]
	control := s.control[s.n*controlLength:]
	s.n++
	if !joined {
		m.header = unix.Msghdr{Iov: &s.vectors[s.used]}
		s.first = s.used
		if to.IsValid() {
			name.Family, name.Addr = unix.AF_INET, to.Addr().As4()
			binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&name.Port))[:], to.Port())
			m.header.Name, m.header.Namelen = (*byte)(unsafe.Pointer(name)), unix.SizeofSockaddrInet4
		}
	}
	for len(payload) > 0 {
		size := min(segment, len(payload))
		if skip == 0 {
			size = len(payload)
		}
		v := &s.vectors[s.used]
		s.used++
		v.Base = &payload[skip]
		v.SetLen(size - skip)
		payload = payload[size:]
	}
	m.header.SetIovlen(s.used - s.first)
	begin, end := markSpace, markSpace
	if s.Mark != 0 {
		binary.NativeEndian.PutUint32(control[unix.CmsgLen(0):], s.Mark)
		begin = 0
	}
	if s.last.segments > 1 {
		binary.NativeEndian.PutUint16(control[markSpace+unix.CmsgLen(0):], uint16(segment-skip))
		end += segmentSpace
	}
	if end > begin {
		m.header.Control = &control[begin]
		m.header.SetControllen(end - begin)
	}
}

// Flush sends what is queued; what cannot be sent is lost.
func (s *Sender) Flush(fd int) {
	sendAll(fd, s.messages[:s.n])
	s.n, s.used, s.last = 0, 0, message{}
}

// sendAll sends messages; what cannot be sent is lost.
func sendAll(fd int, messages []mmsghdr) {
	for i := 0; i < len(messages); {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&messages[i])), uintptr(len(messages)-i), unix.MSG_DONTWAIT, 0, 0)
		switch {
		case errno == unix.EINTR:
		case errno != 0:
			i++
		default:
			i += int(n)
		}
	}
}
