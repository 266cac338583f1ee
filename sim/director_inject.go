package sim

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"p2pmodel/core/sansio"
	"p2pmodel/sim/witness"
)

const (
	// injectEvery is the time between two injected datagrams where none is said.
	injectEvery = 10 * time.Millisecond
	// minInjectEvery bounds what an injection may be on a fabric of real packets.
	minInjectEvery = time.Millisecond
	// maxInjected bounds the datagrams of one injection.
	maxInjected = 100_000
	// maxGarbage is how many bytes of garbage a datagram has at most.
	maxGarbage = 200
)

func (c *eventCheck) inject() {
	e := c.e
	switch {
	case e.For == 0:
		c.add(keyFor, "%q is missing", keyFor)
	case e.Every != 0 && e.Every < minInjectEvery:
		c.add(keyEvery, "every: %v is shorter than %v", e.Every, minInjectEvery)
	case e.For/e.injectEvery() > maxInjected:
		c.add(keyFor, "%d datagrams would be injected; the most is %d", e.For/e.injectEvery(), maxInjected)
	}
}

func (e Event) injectEvery() time.Duration {
	if e.Every == 0 {
		return injectEvery
	}
	return max(e.Every, minInjectEvery) // scaled times may be shorter
}

// inject has a host send what it has no business to send.
func (d *Director) inject(ctx context.Context, e Event) (p Proof, err error) {
	h, err := d.net.Host(e.Host)
	if err != nil {
		return p, err
	}
	seen, err := d.overheard(h)
	if err != nil {
		return p, err
	}
	m := &injector{every: e.injectEvery(), seen: seen, random: rand.New(rand.NewPCG(e.Seed, 0))}
	m.Bind(0, netip.AddrPortFrom(netip.IPv4Unspecified(), 0))
	running, err := h.Run(ctx, m, nil)
	if err != nil {
		return p, err
	}
	waited := Sleep(ctx, d.net, e.For)
	if err := running.Stop(); err != nil {
		return p, err
	}
	p.State, p.Packets = proved(m.sent > 0), m.sent
	p.Text = fmt.Sprintf("%s injected %d datagrams, made of %d that it had overheard", e.Host, m.sent, len(seen))
	switch {
	case m.failed != nil:
		return p, m.failed
	case len(seen) == 0:
		p.Text = e.Host + " has overheard nothing, and so injected nothing"
	}
	return p, waited
}

// overheard are the datagrams that were captured so far on their way to an
// address of the Internet, each once.
func (d *Director) overheard(h RunningHost) (all []witness.Packet, err error) {
	own, err := h.Addresses()
	if err != nil {
		return nil, err
	}
	skip := map[netip.Addr]bool{}
	for _, a := range own {
		skip[a] = true
	}
	public := map[netip.Addr]bool{}
	for _, r := range d.net.Lab().Routers {
		if front(r.Behind) != Internet {
			continue
		}
		running, err := d.net.Router(r.Name)
		if err != nil {
			return nil, err
		}
		for _, a := range running.External() {
			public[a] = true
		}
	}
	for _, o := range d.net.Lab().Hosts {
		for _, u := range o.Uplinks {
			if front(u.Behind) == Internet {
				for _, a := range d.net.Plan().Addresses(o.Name, u.Name) {
					public[a] = true
				}
			}
		}
	}
	type datagram struct {
		to      netip.AddrPort
		payload string
	}
	known := map[datagram]bool{}
	for _, k := range d.net.Packets() {
		key := datagram{k.Dst, string(k.Payload)}
		if k.Payload == nil || k.Dst.Port() == 0 || !public[k.Dst.Addr()] || skip[k.Dst.Addr()] || skip[k.Src.Addr()] || known[key] {
			continue
		}
		known[key] = true
		all = append(all, k)
	}
	return all, nil
}

// injector is the machine that sends them.
type injector struct {
	sansio.Outbox
	every  time.Duration
	seen   []witness.Packet
	random *rand.Rand
	next   time.Time
	sent   uint64
	failed error
}

// HandleBound implements sansio.Machine.
func (m *injector) HandleBound(now time.Time, _ sansio.Socket, _ netip.AddrPort, err error) {
	if err != nil {
		m.failed = errors.Join(m.failed, err)
		return
	}
	m.next = now
}

// HandleDatagram implements sansio.Machine: whatever is answered is for the
// witness.
func (m *injector) HandleDatagram(time.Time, sansio.Datagram) {}

// HandleInterfaces implements sansio.Machine.
func (m *injector) HandleInterfaces(time.Time, []netip.Addr) {}

// HandleTimeout implements sansio.Machine.
func (m *injector) HandleTimeout(now time.Time) {
	if len(m.seen) == 0 || m.next.IsZero() || now.Before(m.next) {
		return
	}
	k := m.seen[m.random.IntN(len(m.seen))]
	m.Send(0, k.Dst, m.payload(k.Payload))
	m.sent++
	m.next = m.next.Add(m.every)
}

// PollTimeout implements sansio.Machine.
func (m *injector) PollTimeout() time.Time {
	if len(m.seen) == 0 {
		return time.Time{}
	}
	return m.next
}

// payload makes a datagram of one that was overheard.
func (m *injector) payload(seen []byte) []byte {
	out := append([]byte{}, seen...)
	switch m.random.IntN(4) {
	case 0: // again, as it was
	case 1:
		for range 1 + m.random.IntN(3) {
			if len(out) > 0 {
				out[m.random.IntN(len(out))] ^= 1 << m.random.IntN(8)
			}
		}
	case 2:
		out = make([]byte, m.random.IntN(maxGarbage))
		m.fill(out)
	default:
		out = m.request()
	}
	return out
}

// stunMethods are those of requests that servers answer: Binding, Allocate,
// Refresh, CreatePermission, ChannelBind (RFC 8489, RFC 8656 section 17).
var stunMethods = []uint16{0x001, 0x003, 0x004, 0x008, 0x009}

// request is a STUN request of nobody.
func (m *injector) request() []byte {
	out := make([]byte, 20)
	binary.BigEndian.PutUint16(out, stunMethods[m.random.IntN(len(stunMethods))])
	binary.BigEndian.PutUint32(out[4:], 0x2112a442)
	m.fill(out[8:])
	return out
}

func (m *injector) fill(b []byte) {
	for i := range b {
		b[i] = byte(m.random.Uint32())
	}
}
