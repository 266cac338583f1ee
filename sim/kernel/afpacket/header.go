//go:build linux

package afpacket

import "encoding/binary"

// HeaderSize is the size of the virtio header (struct virtio_net_hdr) before
// each frame.
const HeaderSize = 10

// Kinds of segmentation offload (VIRTIO_NET_HDR_GSO_*, linux/virtio_net.h).
const (
	GSONone  = 0
	GSOTCPv4 = 1
	GSOTCPv6 = 4
	GSOUDP   = 5 // UDP_L4: datagrams of equal size, of which the last may be shorter
)

const (
	flagNeedsChecksum = 1    // VIRTIO_NET_HDR_F_NEEDS_CSUM
	gsoECN            = 0x80 // VIRTIO_NET_HDR_GSO_ECN, a flag beside the kind
)

// Header is a parsed virtio header.
type Header struct {
	// NeedsChecksum: the transport checksum holds the pseudo-header's sum only;
	// whoever puts the packet on a real wire must finish it.
	NeedsChecksum bool
	// GSO is the kind of segmentation that the packet still needs, SegmentSize
	// the size of each segment's payload in bytes.
	GSO         uint8
	SegmentSize int
	// ChecksumStart is where the sum begins, from the start of the frame;
	// ChecksumOffset is where it is stored, from ChecksumStart.
	ChecksumStart, ChecksumOffset int
}

// ParseHeader reads the first HeaderSize bytes of b, which must be there. Packet
// sockets use the machine's byte order.
func ParseHeader(b []byte) Header {
	_ = b[HeaderSize-1]
	return Header{
		NeedsChecksum:  b[0]&flagNeedsChecksum != 0,
		GSO:            b[1] &^ gsoECN,
		SegmentSize:    int(binary.NativeEndian.Uint16(b[4:])),
		ChecksumStart:  int(binary.NativeEndian.Uint16(b[6:])),
		ChecksumOffset: int(binary.NativeEndian.Uint16(b[8:])),
	}
}

// ClearChecksum says that the packet's checksum is done.
func ClearChecksum(b []byte) {
	b[0] &^= flagNeedsChecksum
	clear(b[6:HeaderSize])
}
