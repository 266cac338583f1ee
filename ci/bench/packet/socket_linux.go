package packet

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// ReceiveBuffer is asked for on each socket; what a system under test does not ask for
// itself it gets from the system's default.
const ReceiveBuffer = 32 << 20

// Listen opens a UDP socket at an address that does not block. With coalesce the kernel
// may give several datagrams of one flow at once (UDP_GRO).
func Listen(at netip.AddrPort, coalesce bool) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("UDP socket: %w", err)
	}
	defer func() {
		if err != nil {
			_ = unix.Close(fd)
		}
	}()
	for _, option := range []int{unix.SO_RCVBUFFORCE, unix.SO_SNDBUFFORCE} {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, ReceiveBuffer); err != nil {
			return -1, fmt.Errorf("buffers of a UDP socket (it takes root): %w", err)
		}
	}
	if coalesce {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1); err != nil {
			return -1, fmt.Errorf("UDP_GRO: %w", err)
		}
	}
	if err := unix.Bind(fd, sockaddr(at)); err != nil {
		return -1, fmt.Errorf("bind UDP socket to %s: %w", at, err)
	}
	return fd, nil
}

// Connect gives a socket the one address that it sends to and hears from.
func Connect(fd int, to netip.AddrPort) error {
	if err := unix.Connect(fd, sockaddr(to)); err != nil {
		return fmt.Errorf("connect UDP socket to %s: %w", to, err)
	}
	return nil
}

// Local is the address that a socket is bound to.
func Local(fd int) netip.AddrPort { return addrPort(unix.Getsockname(fd)) }

// Remote is the address that a socket is connected to.
func Remote(fd int) netip.AddrPort { return addrPort(unix.Getpeername(fd)) }

func addrPort(sa unix.Sockaddr, err error) netip.AddrPort {
	if four, ok := sa.(*unix.SockaddrInet4); ok && err == nil {
		return netip.AddrPortFrom(netip.AddrFrom4(four.Addr), uint16(four.Port))
	}
	return netip.AddrPort{}
}

// Wait waits until one of the sockets has something to read, or a time in milliseconds
// is over.
func Wait(fds []int, milliseconds int) error {
	polls := make([]unix.PollFd, len(fds))
	for i, fd := range fds {
		polls[i] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	}
	if _, err := unix.Poll(polls, milliseconds); err != nil && err != unix.EINTR {
		return fmt.Errorf("poll: %w", err)
	}
	return nil
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
}
