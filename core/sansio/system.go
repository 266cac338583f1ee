package sansio

import (
	"context"
	"fmt"
	"net"
	"net/netip"
)

// System is the network of the machine this process runs on.
func System() Network { return system{} }

type system struct{}

func (system) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	var c net.ListenConfig
	return c.ListenPacket(ctx, network, address)
}

func (system) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	var c net.ListenConfig
	return c.Listen(ctx, network, address)
}

func (system) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, network, address)
}

func (system) Addresses() ([]netip.Addr, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list network interfaces: %w", err)
	}
	var addrs []netip.Addr
	for _, i := range interfaces {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagLoopback != 0 {
			continue
		}
		prefixes, err := i.Addrs()
		if err != nil {
			// The interface went away between the two calls; what is left of
			// the host is still true.
			continue
		}
		for _, p := range prefixes {
			ip, ok := p.(*net.IPNet)
			if !ok {
				continue
			}
			a, ok := netip.AddrFromSlice(ip.IP)
			if a = a.Unmap(); ok && usable(a) {
				addrs = append(addrs, a)
			}
		}
	}
	return addrs, nil
}

// usable reports whether others could reach the host by the address.
func usable(a netip.Addr) bool {
	return a.IsGlobalUnicast() && !a.IsLoopback() && !a.IsLinkLocalUnicast()
}
