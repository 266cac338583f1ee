package sansio

import (
	"context"
	"net"
	"net/netip"
)

// Network is a host's network as a driver sees it: the machine this process
// runs on (System), or a host of a laboratory.
type Network interface {
	// ListenPacket opens a packet socket, as net.ListenConfig does; network is
	// "udp", "udp4" or "udp6".
	ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error)
	// Listen and Dial open streams, as net.ListenConfig and net.Dialer do;
	// network is "tcp", "tcp4" or "tcp6".
	Listen(ctx context.Context, network, address string) (net.Listener, error)
	Dial(ctx context.Context, network, address string) (net.Conn, error)
	// Addresses gives the host's usable unicast addresses, loopback and
	// link-local left out.
	Addresses() ([]netip.Addr, error)
	// Watch sends whenever Addresses may have changed, until ctx ends; then it
	// closes the channel.
	Watch(ctx context.Context) (<-chan struct{}, error)
}
