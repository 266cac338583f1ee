package sansio

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// DontFragment says whether Loop honours Datagram.DontFragment on this system, over
// sockets of the kernel.
const DontFragment = true

// option sets an integer option of both families, as far as the socket is of them.
// It is false where neither took it.
func (io *kernelIO) option(four, six, value int) bool {
	done := false
	control(io.raw, func(fd int) {
		done = unix.SetsockoptInt(fd, unix.IPPROTO_IP, four, value) == nil
		if io.six {
			done = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, six, value) == nil || done
		}
	})
	return done
}

// control calls f with the socket's descriptor, if it has one and is open.
func control(c syscall.RawConn, f func(fd int)) {
	if c != nil {
		_ = c.Control(func(fd uintptr) { f(int(fd)) })
	}
}

// hearErrors has the kernel keep ICMP errors for errors to read. From then on
// they also fail the next call on the socket, whichever it is.
func (io *kernelIO) hearErrors() { io.hears = io.option(unix.IP_RECVERR, unix.IPV6_RECVERR, 1) }

// fragment has what is sent from now on be fragmented where it must, or not. Without
// fragments an MTU that was learned is not believed either: whoever asks for it wants
// to find out for themselves (RFC 8899).
func (io *kernelIO) fragment(may bool) {
	if io.whole == !may {
		return
	}
	io.whole = !may
	if may {
		io.option(unix.IP_MTU_DISCOVER, unix.IPV6_MTU_DISCOVER, unix.IP_PMTUDISC_WANT)
	} else {
		io.option(unix.IP_MTU_DISCOVER, unix.IPV6_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)
	}
}

// errors reads the ICMP errors that wait, a bounded number.
func (io *kernelIO) errors(s Socket) (us []Undeliverable) {
	if !io.hears {
		return nil
	}
	control(io.raw, func(fd int) {
		var payload [1]byte
		var oob [256]byte
		for range maxUndeliverableRead {
			_, n, _, from, err := unix.Recvmsg(fd, payload[:], oob[:], unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
			if err != nil {
				return
			}
			if u, ok := undeliverable(oob[:n], from); ok {
				u.Socket = s
				us = append(us, u)
			}
		}
	})
	return us
}

// undeliverable reads an extended error (struct sock_extended_err, errqueue.h).
func undeliverable(oob []byte, to unix.Sockaddr) (u Undeliverable, ok bool) {
	switch a := to.(type) {
	case *unix.SockaddrInet4:
		u.Remote = netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		u.Remote = netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
	default:
		return u, false
	}
	const size = 16
	for len(oob) > 0 {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			return u, false
		}
		oob = rest
		four := h.Level == unix.IPPROTO_IP && h.Type == unix.IP_RECVERR
		six := h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_RECVERR
		if !four && !six || len(data) < size {
			continue
		}
		switch data[4] { // ee_origin: local ones are no news
		case unix.SO_EE_ORIGIN_ICMP, unix.SO_EE_ORIGIN_ICMP6:
		default:
			return u, false
		}
		u.Type, u.Code = data[5], data[6]
		if data[4] == unix.SO_EE_ORIGIN_ICMP && u.Type == icmpUnreachable && u.Code == icmpFragmentNeeded ||
			data[4] == unix.SO_EE_ORIGIN_ICMP6 && u.Type == icmpv6PacketTooBig {
			u.MTU = binary.NativeEndian.Uint32(data[8:])
		}
		return u, true
	}
	return u, false
}

// fromEarlier reports whether an error of a call may be one that an earlier datagram drew:
// the call itself has then not been tried.
func (io *kernelIO) fromEarlier(err error) bool {
	return io.hears && err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, os.ErrDeadlineExceeded)
}
