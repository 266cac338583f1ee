//go:build linux

package ruleset

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// rebindFlows ends the flows of inside addresses, of all if there are none. In
// the place of each stands one of the router itself then, as if the remote's
// packet had come first, for as long as the flow would have lived: the next packet
// from inside clashes with it. An echo's identifier is free again.
func rebindFlows(conn *nftables.Conn, inside []netip.Addr) ([]Mapping, error) {
	all, err := Mappings(conn)
	if err != nil {
		return nil, fmt.Errorf("rebind: %w", err)
	}
	c, err := dialConntrack(conn.NetNS)
	if err != nil {
		return nil, fmt.Errorf("rebind: %w", err)
	}
	defer c.Close()
	var ended []Mapping
	for _, m := range all {
		if m.Inside == m.External || len(inside) > 0 && !slices.Contains(inside, m.Inside.Addr()) {
			continue
		}
		if err := rebindFlow(c, m); err != nil {
			return ended, fmt.Errorf("rebind %v: %w", m, err)
		}
		ended = append(ended, m)
	}
	return ended, nil
}

// rebindFlow tries again where a packet from inside was faster.
func rebindFlow(c *netlink.Conn, m Mapping) error {
	p := protocols[slices.IndexFunc(protocols, func(p protocol) bool { return p.name == m.Protocol })]
	forth := tuple{protocol: p.number, from: m.Inside, to: m.Remote}
	in := tuple{protocol: p.number, from: m.Remote, to: m.External}
	out := tuple{protocol: p.number, from: m.External, to: m.Remote}
	for range rebindTries {
		if err := execute(c, conntrackDelete, netlink.Request|netlink.Acknowledge, forth.encode(flowOriginal)); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
		if p.echo {
			return nil
		}
		seconds := uint32(max(1, m.Expires/time.Second))
		err := execute(c, conntrackNew, netlink.Request|netlink.Acknowledge|netlink.Create|netlink.Excl,
			in.encode(flowOriginal), out.encode(flowReply),
			netlink.Attribute{Type: flowTimeout, Data: binaryutil.BigEndian.PutUint32(seconds)})
		if !errors.Is(err, unix.EEXIST) {
			return err
		}
	}
	return fmt.Errorf("packets from inside were faster each of %d times", rebindTries)
}

// encode gives the attribute of a tuple. An echo's is the request's, of type 8.
func (t tuple) encode(kind uint16) netlink.Attribute {
	nested := func(kind uint16, attributes ...netlink.Attribute) netlink.Attribute {
		data, err := netlink.MarshalAttributes(attributes)
		if err != nil {
			panic(err) // of attributes longer than 64 KiB only
		}
		return netlink.Attribute{Type: unix.NLA_F_NESTED | kind, Data: data}
	}
	ports := []netlink.Attribute{
		{Type: protocolNumber, Data: []byte{t.protocol}},
		{Type: protocolFrom, Data: port(t.from.Port())}, {Type: protocolTo, Data: port(t.to.Port())},
	}
	if t.protocol == protocolICMP {
		ports = []netlink.Attribute{
			ports[0],
			{Type: protocolEcho, Data: port(t.from.Port())},
			{Type: protocolEchoType, Data: []byte{icmpEchoRequest}}, {Type: protocolEchoCode, Data: []byte{0}},
		}
	}
	return nested(kind,
		nested(tupleAddresses,
			netlink.Attribute{Type: addressFrom, Data: t.from.Addr().AsSlice()},
			netlink.Attribute{Type: addressTo, Data: t.to.Addr().AsSlice()}),
		nested(tupleProtocol, ports...))
}
