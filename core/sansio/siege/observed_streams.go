package siege

import (
	"net/netip"
	"time"

	"p2pmodel/core/sansio"
)

// observedStreams is observed for machines that take streams.
type observedStreams struct {
	*observed
	streams sansio.StreamMachine
}

var _ sansio.StreamMachine = (*observedStreams)(nil)

// HandleAccepted implements sansio.StreamMachine.
func (o *observedStreams) HandleAccepted(now time.Time, s sansio.Socket, remote netip.AddrPort) {
	o.streams.HandleAccepted(o.time(now), s, remote)
}

// HandleClosed implements sansio.StreamMachine.
func (o *observedStreams) HandleClosed(now time.Time, s sansio.Socket, remote netip.AddrPort, err error) {
	o.streams.HandleClosed(o.time(now), s, remote, err)
}
