package forward

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"p2pmodel/ci/bench/packet"
)

// Manner is how datagrams are moved.
type Manner string

// The manners. Plain is net.UDPConn's calls, one for each datagram. Batched is many
// datagrams a call. Offloaded is many datagrams a message, too, where the kernel
// has put them together.
const (
	Plain     Manner = "plain"
	Batched   Manner = "batched"
	Offloaded Manner = "offloaded"
)

// Forwarder is one program.
type Forwarder struct {
	Manner    Manner
	Listen    netip.AddrPort
	To        netip.AddrPort
	Relayed   netip.Addr // of the sockets towards the peer
	OneSocket bool       // for all clients
	// Ports has OneSocket mark what it sends with a port of each client, for Rules.
	Ports bool
}

// header is what is taken off: ChannelData's.
const header = 4

// Run forwards until the process ends, and calls ready when it listens.
func (f *Forwarder) Run(ctx context.Context, ready func()) error {
	if f.Ports && (!f.OneSocket || f.Manner == Plain) {
		return fmt.Errorf("ports of one socket: want one socket and the manner %s or %s", Batched, Offloaded)
	}
	switch f.Manner {
	case Plain:
		return f.plain(ctx, ready)
	case Batched, Offloaded:
		return f.batched(ctx, ready)
	}
	return fmt.Errorf("manner %q: want %s, %s or %s", f.Manner, Plain, Batched, Offloaded)
}

func (f *Forwarder) plain(ctx context.Context, ready func()) error {
	in, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(f.Listen))
	if err != nil {
		return err
	}
	defer in.Close()
	// Closed by another goroutine, its address would be taken for a while after the return.
	defer context.AfterFunc(ctx, func() { _ = in.SetReadDeadline(time.Unix(1, 0)) })()
	_ = in.SetReadBuffer(packet.ReceiveBuffer)
	ready()
	outs := map[netip.AddrPort]*net.UDPConn{}
	defer func() {
		for _, out := range outs {
			_ = out.Close()
		}
	}()
	buffer := make([]byte, 2048)
	for {
		n, from, err := in.ReadFromUDPAddrPort(buffer)
		if err != nil {
			return nil // ended
		}
		if f.OneSocket {
			from = netip.AddrPort{}
		}
		out := outs[from]
		if out == nil {
			if out, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(f.Relayed, 0))); err != nil {
				return err
			}
			outs[from] = out
		}
		if n > header {
			_, _ = out.WriteToUDPAddrPort(buffer[header:n], f.To) // what cannot be sent is lost
		}
	}
}

// way is a socket towards the peer, with what is to leave by it.
type way struct {
	fd     int
	sender *packet.Sender // nil: nothing is to leave
}

func (f *Forwarder) batched(ctx context.Context, ready func()) error {
	offload := f.Manner == Offloaded
	in, err := packet.Listen(f.Listen, offload)
	if err != nil {
		return err
	}
	defer unix.Close(in)
	ready()
	const batch = 64
	r := packet.NewReceiver(batch, offload)
	ways, marks := map[netip.AddrPort]*way{}, map[netip.AddrPort]uint32{}
	defer func() {
		for _, w := range ways {
			_ = unix.Close(w.fd)
		}
	}()
	var (
		dirty []*way
		spare []*packet.Sender // as many as ways can be dirty, not as there are ways
	)
	for ctx.Err() == nil {
		n := r.Receive(in)
		if n == 0 {
			if err := packet.Wait([]int{in}, 100); err != nil {
				return err
			}
			continue
		}
		for i := range n {
			payload, segment := r.Message(i)
			from, mark := r.From(i), uint32(0)
			if f.Ports {
				if mark = marks[from]; mark == 0 {
					if len(marks) > LastPort-FirstPort {
						return fmt.Errorf("more clients than ports from %d to %d", FirstPort, LastPort)
					}
					mark = PortMark(uint16(FirstPort + len(marks)))
					marks[from] = mark
				}
			}
			if f.OneSocket {
				from = netip.AddrPort{}
			}
			w := ways[from]
			if w == nil {
				at := netip.AddrPortFrom(f.Relayed, 0)
				if f.Ports {
					at = netip.AddrPortFrom(f.Relayed, SocketPort)
				}
				fd, err := packet.Listen(at, false)
				if err != nil {
					return err
				}
				w = &way{fd: fd}
				ways[from] = w
			}
			if len(payload) <= header {
				continue
			}
			if w.sender == nil {
				if len(spare) == 0 {
					spare = append(spare, packet.NewSender(batch))
				}
				w.sender, spare = spare[len(spare)-1], spare[:len(spare)-1]
				w.sender.Join = offload
				dirty = append(dirty, w)
			}
			w.sender.Mark = mark
			w.sender.Queue(f.To, payload, segment, header)
		}
		for _, w := range dirty {
			w.sender.Flush(w.fd)
			w.sender, spare = nil, append(spare, w.sender)
		}
		dirty = dirty[:0]
	}
	return nil
}
