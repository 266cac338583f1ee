//go:build linux

package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"p2pmodel/nat/certify"
)

// datagrams is a UDP socket of the probe.
type datagrams struct {
	driver *probeDriver
	local  netip.AddrPort
	conn   *net.UDPConn
}

func (d *probeDriver) openDatagrams(ctx context.Context, ns *namespace, o certify.Open) (proberSocket, error) {
	s := &datagrams{driver: d, local: o.Local}
	var listening net.ListenConfig
	if o.Inside {
		listening.Control = hearErrors
	}
	err := ns.inside(func() error {
		c, err := listening.ListenPacket(ctx, "udp4", o.Local.String())
		if err == nil {
			s.conn = c.(*net.UDPConn)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	d.readers.Go(func() { s.read(o.Socket) })
	return s, nil
}

func (s *datagrams) read(socket int) {
	buffer := make([]byte, 4096)
	for {
		n, from, err := s.conn.ReadFromUDPAddrPort(buffer)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err == nil:
			s.driver.arrived(socket, from, buffer[:n])
		default: // an ICMP error
			at := time.Now()
			for _, e := range heardErrors(s.conn) {
				s.driver.tell(func() { s.driver.probe.HandleICMP(at, socket, e) })
			}
		}
	}
}

func (s *datagrams) close() error { return s.conn.Close() }

// send sends a datagram in the form that the probe wants.
func (s *datagrams) send(g certify.Send) error {
	switch g.Form {
	case certify.Plain:
		return s.write(g)
	case certify.DontFragment:
		return s.writeWith(g, unix.IP_PMTUDISC_PROBE)
	case certify.MayFragment:
		return s.writeWith(g, unix.IP_PMTUDISC_DONT)
	}
	raw, err := s.driver.rawSender()
	if err != nil {
		return err
	}
	if g.Form == certify.Error {
		return raw.send(icmpError(g, s.local), g.To.Addr())
	}
	packets := fragments(s.local, g.To, g.Payload)
	if g.Form == certify.Reversed {
		slices.Reverse(packets)
	}
	for _, p := range packets {
		if err := raw.send(p, g.To.Addr()); err != nil {
			return err
		}
	}
	return nil
}

// rawSender is made when it is needed first.
func (d *probeDriver) rawSender() (*rawSender, error) {
	if d.raw == nil {
		raw, err := newRawSender(d.outside)
		if err != nil {
			return nil, err
		}
		d.raw = raw
	}
	return d.raw, nil
}

// write sends once more what the socket did not send, because it told of an ICMP
// error instead.
func (s *datagrams) write(g certify.Send) error {
	_, err := s.conn.WriteToUDPAddrPort(g.Payload, g.To)
	if err != nil {
		_, err = s.conn.WriteToUDPAddrPort(g.Payload, g.To)
	}
	return err
}

// writeWith sends with DF as a mode of path MTU discovery has it.
func (s *datagrams) writeWith(g certify.Send, mode int) error {
	if err := setDiscovery(s.conn, mode); err != nil {
		return err
	}
	return errors.Join(s.write(g), setDiscovery(s.conn, unix.IP_PMTUDISC_WANT))
}

func setDiscovery(conn *net.UDPConn, mode int) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, mode) })
	return errors.Join(err, failed)
}

// hearErrors has a socket keep the ICMP errors that come to it.
func hearErrors(_, _ string, conn syscall.RawConn) error {
	var failed error
	err := conn.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_RECVERR, 1) })
	return errors.Join(err, failed)
}

// heardErrors takes the ICMP errors that a socket has kept.
func heardErrors(conn *net.UDPConn) (all []certify.ICMPError) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil
	}
	control, data := make([]byte, 512), make([]byte, 4096)
	_ = raw.Control(func(fd uintptr) {
		for {
			_, n, _, _, err := unix.Recvmsg(int(fd), data, control, unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
			if err != nil {
				return
			}
			messages, err := unix.ParseSocketControlMessage(control[:n])
			if err != nil {
				return
			}
			for _, m := range messages {
				// struct sock_extended_err: errno, origin, type, code, …
				if m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_RECVERR && len(m.Data) >= 7 && m.Data[4] == unix.SO_EE_ORIGIN_ICMP {
					all = append(all, certify.ICMPError{Type: m.Data[5], Code: m.Data[6]})
				}
			}
		}
	})
	return all
}

// rawSender sends IPv4 packets as they are.
type rawSender struct{ fd int }

func newRawSender(ns *namespace) (r *rawSender, err error) {
	err = ns.inside(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_RAW)
		if err != nil {
			return err
		}
		r = &rawSender{fd}
		// Nobody on the way out shall put the fragments together.
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_NODEFRAG, 1); err != nil {
			return errors.Join(err, unix.Close(fd))
		}
		return nil
	})
	return r, err
}

func (r *rawSender) send(packet []byte, to netip.Addr) error {
	return unix.Sendto(r.fd, packet, 0, &unix.SockaddrInet4{Addr: to.As4()})
}

func (r *rawSender) close() error { return unix.Close(r.fd) }

const (
	ipv4Header = 20
	udpHeader  = 8
	// fragmentSize is how much of a datagram a fragment carries: a multiple of 8.
	fragmentSize = 1000
	moreFollow   = 1 << 13
)

// fragments are a UDP datagram in several IPv4 packets.
func fragments(from, to netip.AddrPort, payload []byte) (packets [][]byte) {
	whole := udp(from, to, payload)
	id := uint16(from.Port()) ^ binary.BigEndian.Uint16(payload[10:]) // of the shot
	for offset := 0; offset < len(whole); offset += fragmentSize {
		part := whole[offset:min(offset+fragmentSize, len(whole))]
		field := uint16(offset / 8)
		if offset+len(part) < len(whole) {
			field |= moreFollow
		}
		packets = append(packets, append(ipv4(from.Addr(), to.Addr(), unix.IPPROTO_UDP, len(part), id, field), part...))
	}
	return packets
}

// icmpError is an ICMP error about a datagram as if that had come to the local
// socket: with its IP header and the first 8 bytes behind it (RFC 792).
func icmpError(s certify.Send, local netip.AddrPort) []byte {
	about := udp(s.To, local, s.Payload)
	quote := append(ipv4(s.To.Addr(), local.Addr(), unix.IPPROTO_UDP, len(about), 0, 0), about[:udpHeader]...)
	message := append([]byte{s.Error.Type, s.Error.Code, 0, 0, 0, 0, 0, 0}, quote...)
	binary.BigEndian.PutUint16(message[2:], onesComplement(message))
	return append(ipv4(s.Via, s.To.Addr(), unix.IPPROTO_ICMP, len(message), 0, 0), message...)
}

func ipv4(from, to netip.Addr, protocol byte, length int, id, fragment uint16) []byte {
	h := make([]byte, ipv4Header)
	h[0], h[8], h[9] = 0x45, 64, protocol
	binary.BigEndian.PutUint16(h[2:], uint16(ipv4Header+length))
	binary.BigEndian.PutUint16(h[4:], id)
	binary.BigEndian.PutUint16(h[6:], fragment)
	copy(h[12:], from.AsSlice())
	copy(h[16:], to.AsSlice())
	binary.BigEndian.PutUint16(h[10:], onesComplement(h))
	return h
}

func udp(from, to netip.AddrPort, payload []byte) []byte {
	b := make([]byte, udpHeader, udpHeader+len(payload))
	binary.BigEndian.PutUint16(b[0:], from.Port())
	binary.BigEndian.PutUint16(b[2:], to.Port())
	binary.BigEndian.PutUint16(b[4:], uint16(udpHeader+len(payload)))
	b = append(b, payload...)
	pseudo := append(append(from.Addr().AsSlice(), to.Addr().AsSlice()...), 0, unix.IPPROTO_UDP, b[4], b[5])
	sum := onesComplement(append(pseudo, b...))
	if sum == 0 { // which would say that there is none (RFC 768)
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(b[6:], sum)
	return b
}

// onesComplement is the Internet checksum (RFC 1071).
func onesComplement(b []byte) uint16 {
	var sum uint32
	for i, v := range b {
		sum += uint32(v) << (8 * (1 - i%2))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
