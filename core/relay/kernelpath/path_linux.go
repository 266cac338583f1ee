package kernelpath

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"p2pmodel/core/relay"
	"p2pmodel/core/sansio"
)

// early is how long before its end a flow is the server's again: the program's clock stands
// still between ticks, which are 10 ms apart at most.
const early = 10 * time.Millisecond

// Path is the kernel's fast path of one server, in the network namespace of who made it. All
// of it is gone when it is shut, or with the process, however that ends.
type Path struct {
	log     *slog.Logger
	maps    maps
	program *ebpf.Program
	routes  *routes
	watch   *watch

	lock   sync.Mutex
	listen netip.AddrPort // that the program knows
	flows  map[flowKey]ends
	failed bool // and it was said
}

// ends are the paths of a flow.
type ends struct{ client, peer remoteKey }

var _ relay.FastPath = (*Path)(nil)

// New loads the program. Errors wrap ErrUnavailable and say what it would take.
func New(log *slog.Logger) (*Path, error) {
	p, err := newPath(log)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, explained(err))
	}
	return p, nil
}

func newPath(log *slog.Logger) (_ *Path, err error) {
	if sansio.KernelPathOff() {
		return nil, fmt.Errorf("%s switches it off", sansio.OffloadVariable)
	}
	ttl, err := usual()
	if err != nil {
		return nil, err
	}
	p := &Path{log: log, flows: make(map[flowKey]ends)}
	if p.maps, err = newMaps(); err != nil {
		return nil, fmt.Errorf("make maps: %w", err)
	}
	defer func() {
		if err != nil {
			p.Shut()
		}
	}()
	if p.program, err = ebpf.NewProgram(program(&p.maps)); err != nil {
		return nil, fmt.Errorf("load the program: %w", err)
	}
	if p.routes, err = newRoutes(&p.maps, p.program, ttl, log); err != nil {
		return nil, err
	}
	if p.watch, err = startWatch(p); err != nil {
		return nil, fmt.Errorf("watch routes: %w", err)
	}
	return p, nil
}

// explained adds to an error of the kernel what it takes.
func explained(err error) error {
	switch {
	case errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES):
		return fmt.Errorf("it takes CAP_BPF and CAP_NET_ADMIN: %w", unix.EPERM)
	case errors.Is(err, ebpf.ErrNotSupported):
		return fmt.Errorf("%w (it takes Linux 6.6 with CONFIG_NET_CLS_ACT)", err)
	}
	return err
}

// usual reads how this host sends datagrams, and gives their TTL. One that sends without DF what
// a socket has not said anything about is left to its sockets.
func usual() (ttl uint32, err error) {
	read := func(name string) (n uint64, err error) {
		text, err := os.ReadFile("/proc/sys/net/ipv4/" + name)
		if err == nil {
			n, err = strconv.ParseUint(strings.TrimSpace(string(text)), 10, 32)
		}
		return n, err
	}
	discovery, err := read("ip_no_pmtu_disc")
	if err != nil {
		return 0, err
	}
	if discovery != 0 {
		return 0, fmt.Errorf("sysctl net.ipv4.ip_no_pmtu_disc is %d, want 0", discovery)
	}
	n, err := read("ip_default_ttl")
	return uint32(n), err
}

// Shut ends it; nothing may be called afterwards.
func (p *Path) Shut() {
	p.watch.stop()
	p.routes.close()
	_ = p.program.Close() // nil is closed already, and nothing is written
	p.maps.close()
}

// Open implements relay.FastPath.
func (p *Path) Open(now time.Time, f relay.Flow) {
	for _, a := range []netip.AddrPort{f.Listen, f.Client, f.Relayed, f.Peer} {
		if !a.Addr().Is4() || a.Addr().IsUnspecified() {
			return
		}
	}
	p.lock.Lock()
	defer p.lock.Unlock()
	if err := p.open(now, f); err != nil {
		p.close(f)
		if !p.failed {
			p.log.Warn("a flow is not in the kernel's fast path, nor may others be", "client", f.Client.String(), "peer", f.Peer.String(), "error", err)
		}
		p.failed = true
	}
}

func (p *Path) open(now time.Time, f relay.Flow) error {
	if f.Listen != p.listen {
		s := settings{Listen: f.Listen.Addr().As4(), Port: port(f.Listen.Port())}
		if err := p.maps.settings.Put(uint32(0), &s); err != nil {
			return fmt.Errorf("tell where clients come to: %w", err)
		}
		p.listen = f.Listen
	}
	toPeer := keyOf(f.Client, f.Listen, f.Channel)
	e, known := p.flows[toPeer]
	if !known {
		e = ends{remoteKey{f.Client.Addr().As4(), f.Listen.Addr().As4()}, remoteKey{f.Peer.Addr().As4(), f.Relayed.Addr().As4()}}
		p.flows[toPeer] = e
		p.routes.take(e.client)
		p.routes.take(e.peer)
	}
	client, peer := p.routes.index(e.client), p.routes.index(e.peer)
	var clock unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &clock); err != nil {
		return fmt.Errorf("read the clock: %w", err)
	}
	expires := func(at time.Time) uint64 { return uint64(max(0, clock.Nano()+int64(at.Sub(now)-early))) }
	out := flowValue{
		Expires: expires(f.ToPeer), Source: f.Relayed.Addr().As4(), Destination: f.Peer.Addr().As4(),
		SourcePort: port(f.Relayed.Port()), DestinationPort: port(f.Peer.Port()), From: client, To: peer,
	}
	if f.Relay {
		out.Relay = 1
	}
	in := flowValue{
		Expires: expires(f.ToClient), Source: f.Listen.Addr().As4(), Destination: f.Client.Addr().As4(),
		SourcePort: port(f.Listen.Port()), DestinationPort: port(f.Client.Port()), Number: port(f.Channel), From: peer, To: client,
	}
	fromPeer := keyOf(f.Peer, f.Relayed, 0)
	if err := errors.Join(p.maps.flows.Put(&toPeer, &out), p.maps.flows.Put(&fromPeer, &in)); err != nil {
		return fmt.Errorf("write a flow: %w", err)
	}
	return nil
}

// Close implements relay.FastPath.
func (p *Path) Close(f relay.Flow) {
	p.lock.Lock()
	defer p.lock.Unlock()
	p.close(f)
}

func (p *Path) close(f relay.Flow) {
	if !f.Client.Addr().Is4() || !f.Relayed.Addr().Is4() || !f.Peer.Addr().Is4() || !f.Listen.Addr().Is4() {
		return
	}
	toPeer, fromPeer := keyOf(f.Client, f.Listen, f.Channel), keyOf(f.Peer, f.Relayed, 0)
	e, known := p.flows[toPeer]
	if !known {
		return
	}
	delete(p.flows, toPeer)
	// One that is not there is gone as it should.
	_ = p.maps.flows.Delete(&toPeer)
	_ = p.maps.flows.Delete(&fromPeer)
	p.routes.give(e.client)
	p.routes.give(e.peer)
}

// Passed implements relay.FastPath.
func (p *Path) Passed() (sum relay.Passed) {
	var each []counters
	if err := p.maps.counters.Lookup(uint32(0), &each); err != nil {
		p.log.Error("the fast path's counters cannot be read", "error", err)
		return sum
	}
	for _, c := range each {
		sum.ToPeers += c.ToPeers
		sum.ToPeersBytes += c.ToPeersBytes
		sum.ToClients += c.ToClients
		sum.ToClientsBytes += c.ToClientsBytes
	}
	return sum
}
