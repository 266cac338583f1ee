package siege

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// forger sends datagrams whose source is anybody's.
type forger struct{ fd int }

func newForger() (*forger, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return nil, fmt.Errorf("open a raw socket: %w", err)
	}
	return &forger{fd}, nil
}

func (f *forger) close() { _ = unix.Close(f.fd) }

// send writes the IPv4 header (RFC 791), of which the kernel fills in length, id and
// checksum, and the UDP header, without a checksum (RFC 768).
func (f *forger) send(from, to netip.AddrPort, payload []byte) error {
	b := make([]byte, 0, 28+len(payload))
	b = append(b, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, unix.IPPROTO_UDP, 0, 0)
	b = append(b, from.Addr().AsSlice()...)
	b = append(b, to.Addr().AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, from.Port())
	b = binary.BigEndian.AppendUint16(b, to.Port())
	b = binary.BigEndian.AppendUint16(b, uint16(8+len(payload)))
	b = append(b, 0, 0)
	return unix.Sendto(f.fd, append(b, payload...), 0, &unix.SockaddrInet4{Addr: to.Addr().As4()})
}
