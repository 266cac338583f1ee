package packet

import (
	"encoding/binary"
	"net/netip"
	"testing"
)

func TestFrame(t *testing.T) {
	var f Frames
	b := f.Make(netip.MustParseAddrPort("198.18.0.2:40000"), netip.MustParseAddrPort("198.18.255.255:65535"), 1204)
	b = b[virtualHeader:]
	if s := sum(b[ethernetHeader:ethernetHeader+ipv4Header], 0); s != 0xffff {
		t.Errorf("the header's sum is %#x: want 0xffff", s)
	}
	if len(b) != FrameHeader-virtualHeader+1204 || binary.BigEndian.Uint16(b[16:]) != 1232 || binary.BigEndian.Uint16(b[36:]) != 65535 {
		t.Errorf("% x of %d bytes", b[:42], len(b))
	}
}
