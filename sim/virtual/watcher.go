package virtual

import (
	"net/netip"
	"time"
)

// Watcher hears of the datagrams of machines, as it happens: cheaper than a
// recording, for those who count. Hosts go by their number in the lab. Datagrams are
// valid during the call only.
type Watcher interface {
	// Sent: a machine's host sends it.
	Sent(now time.Time, host int, src, dst netip.AddrPort, datagram []byte)
	// Delivered: it is about to be given to the machine whose socket it has reached.
	Delivered(now time.Time, host int, src, dst netip.AddrPort, datagram []byte)
}

// Address is the host's first address on its active uplink; invalid if there is none.
func (h *Host) Address() netip.Addr { return h.source() }
