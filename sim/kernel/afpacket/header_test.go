//go:build linux

package afpacket_test

import (
	"encoding/binary"
	"testing"

	"p2pmodel/sim/kernel/afpacket"
)

// virtio makes struct virtio_net_hdr: flags, gso_type, hdr_len, gso_size,
// csum_start, csum_offset.
func virtio(flags, gso byte, fields ...uint16) []byte {
	b := []byte{flags, gso}
	for _, f := range fields {
		b = binary.NativeEndian.AppendUint16(b, f)
	}
	return b
}

func TestParseHeader(t *testing.T) {
	for _, c := range []struct {
		name string
		in   []byte
		want afpacket.Header
	}{
		{"a whole packet", virtio(0, 0, 0, 0, 0, 0), afpacket.Header{}},
		{"its checksum is to be done", virtio(1, 0, 0, 0, 34, 6), afpacket.Header{NeedsChecksum: true, ChecksumStart: 34, ChecksumOffset: 6}},
		{"its checksum was found right", virtio(2, 0, 0, 0, 0, 0), afpacket.Header{}},
		{"a segment of TCP with ECN", virtio(1, 0x81, 66, 1448, 34, 16), afpacket.Header{NeedsChecksum: true, GSO: afpacket.GSOTCPv4, SegmentSize: 1448, ChecksumStart: 34, ChecksumOffset: 16}},
		{"a segment of UDP", virtio(1, 5, 42, 1200, 34, 6), afpacket.Header{NeedsChecksum: true, GSO: afpacket.GSOUDP, SegmentSize: 1200, ChecksumStart: 34, ChecksumOffset: 6}},
	} {
		if got := afpacket.ParseHeader(c.in); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}
