package trial

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"time"

	"p2pmodel/core/sansio"
)

// crowd is what others do behind a player's first router: datagrams to ever other ports, so
// that each makes a mapping, where mappings depend on ports. They come as a Poisson process.
type crowd struct {
	sansio.Outbox
	to   netip.Addr
	rate float64 // a second
	rand *rand.Rand
	port uint16
	next time.Time
}

// crowdPort is the first port that a crowd sends to, beyond those of servers.
const crowdPort = 10000

func (c *crowd) HandleInterfaces(now time.Time, _ []netip.Addr) {
	if c.next.IsZero() {
		c.Bind(0, netip.AddrPortFrom(netip.IPv4Unspecified(), 0))
	}
	c.wait(now)
}

func (c *crowd) wait(from time.Time) {
	c.next = from.Add(time.Duration(-math.Log(1-c.rand.Float64()) / c.rate * float64(time.Second)))
}

func (*crowd) HandleBound(time.Time, sansio.Socket, netip.AddrPort, error) {}
func (*crowd) HandleDatagram(time.Time, sansio.Datagram)                   {}
func (c *crowd) PollTimeout() time.Time                                    { return c.next }

func (c *crowd) HandleTimeout(now time.Time) {
	for !c.next.After(now) {
		c.Send(0, netip.AddrPortFrom(c.to, crowdPort+c.port%50000), []byte{0})
		c.port++
		c.wait(c.next)
	}
}
