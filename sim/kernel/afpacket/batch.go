//go:build linux

package afpacket

import (
	"encoding/binary"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// MaxFrame is the size of the largest frame that a Receiver takes whole: a
// segment of offload of 64 KiB with its Ethernet and virtio headers.
const MaxFrame = 1<<16 + 64

// controlSize holds one SCM_TIMESTAMPNS message, with room to spare.
const controlSize = 64

// message is struct mmsghdr.
type message struct {
	hdr unix.Msghdr
	len uint32
}

// Frame is a frame read by a Receiver. Its bytes are valid until the next read.
type Frame struct {
	// Header is the virtio header as it was read, Data the frame after it, from
	// its link-layer header on.
	Header, Data []byte
	// Truncated: the frame was larger than MaxFrame and Data is its beginning.
	Truncated bool
	// Type is PACKET_HOST, PACKET_OUTGOING…; Protocol the EtherType; Hardware
	// the kind of link layer (ARPHRD_*).
	Type     uint8
	Protocol uint16
	Hardware uint16
	// At is when the kernel saw the packet, by the real-time clock.
	At time.Time
}

// Receiver reads frames in batches from any number of sockets, one after
// another. It is not safe for concurrent use.
type Receiver struct {
	messages []message
	iovecs   []unix.Iovec
	names    []unix.RawSockaddrLinklayer
	control  [][controlSize]byte
	buffers  []byte
}

// NewReceiver makes a Receiver of n frames a batch. It holds n × MaxFrame bytes.
func NewReceiver(n int) *Receiver {
	r := &Receiver{
		messages: make([]message, n),
		iovecs:   make([]unix.Iovec, n),
		names:    make([]unix.RawSockaddrLinklayer, n),
		control:  make([][controlSize]byte, n),
		buffers:  make([]byte, n*MaxFrame),
	}
	for i := range r.messages {
		r.iovecs[i].Base = &r.buffers[i*MaxFrame]
		r.iovecs[i].SetLen(MaxFrame)
		h := &r.messages[i].hdr
		h.Iov = &r.iovecs[i]
		h.SetIovlen(1)
		h.Name = (*byte)(unsafe.Pointer(&r.names[i]))
		h.Control = &r.control[i][0]
	}
	return r
}

// Size is the number of frames of a batch.
func (r *Receiver) Size() int { return len(r.messages) }

// Receive reads what is there, at most a batch. It returns 0 and no error when
// nothing is.
func (r *Receiver) Receive(fd int) (int, error) {
	for i := range r.messages {
		h := &r.messages[i].hdr
		h.Namelen = uint32(unsafe.Sizeof(r.names[i]))
		h.SetControllen(controlSize)
		h.Flags = 0
	}
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&r.messages[0])),
			uintptr(len(r.messages)), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case unix.EAGAIN:
			return 0, nil
		case unix.EINTR:
		default:
			return 0, fmt.Errorf("recvmmsg: %w", errno)
		}
	}
}

// Frame gives the frame at i of the last batch.
func (r *Receiver) Frame(i int) Frame {
	m, name := &r.messages[i], &r.names[i]
	b := r.buffers[i*MaxFrame:][:min(int(m.len), MaxFrame)]
	f := Frame{
		Truncated: m.hdr.Flags&unix.MSG_TRUNC != 0 || len(b) < HeaderSize,
		Type:      name.Pkttype,
		Protocol:  networkOrder(name.Protocol),
		Hardware:  name.Hatype,
		At:        Timestamp(r.control[i][:m.hdr.Controllen]),
	}
	if len(b) >= HeaderSize {
		f.Header, f.Data = b[:HeaderSize], b[HeaderSize:]
	}
	return f
}

// Timestamp finds SCM_TIMESTAMPNS; without one (which the kernel always adds
// once asked) it is the present.
func Timestamp(control []byte) time.Time {
	for len(control) >= unix.SizeofCmsghdr {
		h, data, rest, err := unix.ParseOneSocketControlMessage(control)
		if err != nil {
			break
		}
		if h.Level == unix.SOL_SOCKET && h.Type == unix.SO_TIMESTAMPNS {
			if len(data) >= 16 {
				return time.Unix(int64(binary.NativeEndian.Uint64(data)), int64(binary.NativeEndian.Uint64(data[8:])))
			}
			if len(data) >= 8 { // 32-bit machines
				return time.Unix(int64(int32(binary.NativeEndian.Uint32(data))), int64(int32(binary.NativeEndian.Uint32(data[4:]))))
			}
		}
		control = rest
	}
	return time.Now()
}

// Sender writes frames in batches. It is not safe for concurrent use.
type Sender struct {
	messages []message
	iovecs   []unix.Iovec
}

// NewSender makes a Sender of at most n frames a batch.
func NewSender(n int) *Sender {
	s := &Sender{messages: make([]message, n), iovecs: make([]unix.Iovec, n)}
	for i := range s.messages {
		s.messages[i].hdr.Iov = &s.iovecs[i]
		s.messages[i].hdr.SetIovlen(1)
	}
	return s
}

// Size is the number of frames of a batch.
func (s *Sender) Size() int { return len(s.messages) }

// Send writes frames, each with its virtio header, and returns how many were
// written. An error is that of the frame after them; frames after that one were
// not tried.
func (s *Sender) Send(fd int, frames [][]byte) (int, error) {
	frames = frames[:min(len(frames), len(s.messages))]
	for i, f := range frames {
		s.iovecs[i].Base = &f[0]
		s.iovecs[i].SetLen(len(f))
	}
	defer func() {
		for i := range frames {
			s.iovecs[i].Base = nil
		}
	}()
	for {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&s.messages[0])),
			uintptr(len(frames)), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, fmt.Errorf("sendmmsg: %w", errno)
		}
	}
}
