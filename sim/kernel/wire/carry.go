//go:build linux

package wire

import (
	"encoding/binary"
	"errors"
	"math/bits"
	"time"

	"golang.org/x/sys/unix"

	"p2pmodel/sim/kernel/afpacket"
	"p2pmodel/sim/link"
)

// ProbeType is the EtherType of frames by which a link is measured (the first of
// IEEE 802's for local experiments). See Link.Probe.
const ProbeType = 0x88b5

// isProbe reports whether a frame with its virtio header is a probe.
func isProbe(b []byte) bool {
	return binary.BigEndian.Uint16(b[afpacket.HeaderSize+ethernetHeader-2:]) == ProbeType
}

// receive reads frames that entered one direction and asks its shaper about
// each.
func (s *Scheduler) receive(d *direction, rounds int) {
	for range rounds {
		n, err := s.in.Receive(d.from)
		if err != nil {
			// ENETDOWN says that the interface went down, once; the socket stays
			// usable for when it comes back. All else is a frame that was lost.
			if !errors.Is(err, unix.ENETDOWN) {
				d.counters.Failed++
			}
			return
		}
		now := time.Now()
		wall := now.Round(0)
		for i := range n {
			s.enter(d, s.in.Frame(i), now, wall)
		}
		if n < s.in.Size() {
			return
		}
	}
}

// enter takes one frame into a direction. now and wall are the present by the
// monotonic and the real-time clock.
func (s *Scheduler) enter(d *direction, f afpacket.Frame, now, wall time.Time) {
	if f.Type == unix.PACKET_OUTGOING {
		return // an echo of what the wire itself wrote
	}
	// The delay counts from when the kernel got the frame, not from when we woke.
	at := now.Add(-min(max(wall.Sub(f.At), 0), maxAge))
	if at.Before(d.entered) {
		at = d.entered
	}
	d.entered = at
	if f.Truncated || len(f.Data) < ethernetHeader {
		d.counts.Offered++
		d.counters.Failed++
		return
	}
	size := len(f.Data) - ethernetHeader
	if d.probing != nil && f.Protocol == ProbeType {
		s.enterProbe(d, f, at, size)
		return
	}
	d.counts.Offered++
	if d.link.cut {
		d.lose(link.Cut, at, f.Data)
		return
	}
	v := d.shaper.Next(at, size)
	if !v.Deliver {
		d.lose(v.Reason, at, f.Data)
		return
	}
	if v.Overtook {
		d.counts.Overtook++
	}
	out := s.pool.frame(d, v.At, f.Header, f.Data)
	s.queue.push(out)
	if v.Copy {
		d.counts.Duplicated++
		s.queue.push(s.pool.frame(d, v.CopyAt, f.Header, f.Data))
	}
	if v.Corrupt && corrupt(out.bytes, v.Flip) {
		d.lose(link.Corrupt, at, f.Data)
	}
}

// enterProbe takes a frame of a measurement.
func (s *Scheduler) enterProbe(d *direction, f afpacket.Frame, at time.Time, size int) {
	p := d.probing
	p.Offered++
	v := p.shaper.Next(at, size)
	if !v.Deliver || d.link.cut {
		p.Lost++
		return
	}
	p.Delays = append(p.Delays, v.At.Sub(at))
	s.queue.push(s.pool.frame(d, v.At, f.Header, f.Data))
}

// deliver writes all frames that are due. Frames for one socket that follow each
// other go out in one system call.
func (s *Scheduler) deliver() {
	for {
		now := time.Now()
		f := s.queue.due(now)
		if f == nil {
			return
		}
		d := f.direction
		s.sent, s.outbox = s.sent[:0], s.outbox[:0]
		for f != nil && f.direction == d && len(s.sent) < s.out.Size() {
			s.queue.pop()
			if d.link.closed {
				s.pool.put(f)
			} else if d.link.cut {
				d.lose(link.Cut, f.at, f.bytes[afpacket.HeaderSize:])
				s.pool.put(f)
			} else {
				s.sent = append(s.sent, f)
				s.outbox = append(s.outbox, f.bytes)
			}
			f = s.queue.due(now)
		}
		s.write(d)
	}
}

// write writes the outbox into the far end of a direction.
func (s *Scheduler) write(d *direction) {
	for rest := s.outbox; len(rest) > 0; {
		n, err := s.out.Send(d.to, rest)
		for _, b := range rest[:n] {
			if d.probing != nil && isProbe(b) {
				d.probing.Delivered++
				continue
			}
			d.counts.Delivered++
			d.counts.Bytes += uint64(len(b) - afpacket.HeaderSize - ethernetHeader)
		}
		rest = rest[n:]
		if err != nil && len(rest) > 0 {
			// ENETDOWN, ENOBUFS…: this frame is lost, the next may pass.
			d.counters.Failed++
			rest = rest[1:]
		}
	}
	written := time.Now()
	for _, f := range s.sent {
		d.late.Add(written.Sub(f.at))
		s.pool.put(f)
	}
}

// corrupt flips one bit of a frame's IPv4 payload, of which flip selects it. It
// reports whether there was one.
func corrupt(b []byte, flip uint64) bool {
	header, frame := b[:afpacket.HeaderSize], b[afpacket.HeaderSize:]
	if binary.BigEndian.Uint16(frame[ethernetHeader-2:]) != unix.ETH_P_IP || len(frame) < ethernetHeader+20 {
		return false
	}
	ip := frame[ethernetHeader:]
	start, end := int(ip[0]&15)*4, min(int(binary.BigEndian.Uint16(ip[2:])), len(ip))
	if start < 20 || end <= start {
		return false
	}
	// A checksum that is still to be done would be done after the damage, and hide it.
	finish(header, frame)
	bit, _ := bits.Mul64(flip, uint64(end-start)*8)
	ip[start+int(bit/8)] ^= 1 << (bit % 8)
	return true
}

// finish does the transport checksum that a virtio header leaves to do.
func finish(header, frame []byte) {
	h := afpacket.ParseHeader(header)
	if !h.NeedsChecksum || h.ChecksumStart+h.ChecksumOffset+2 > len(frame) {
		return
	}
	data := frame[h.ChecksumStart:]
	var sum uint32
	for i := 0; i+1 < len(data); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(data[i:]))
	}
	if len(data)%2 == 1 {
		sum += uint32(data[len(data)-1]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	value := ^uint16(sum)
	if value == 0 {
		value = 0xffff // 0 would be no checksum at all
	}
	binary.BigEndian.PutUint16(data[h.ChecksumOffset:], value)
	afpacket.ClearChecksum(header)
}
