//go:build linux

package ruleset

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Numbers of conntrack's netlink messages and their attributes
// (linux/netfilter/nfnetlink_conntrack.h).
const (
	conntrackNew    = unix.NFNL_SUBSYS_CTNETLINK << 8
	conntrackGet    = unix.NFNL_SUBSYS_CTNETLINK<<8 | 1
	conntrackDelete = unix.NFNL_SUBSYS_CTNETLINK<<8 | 2

	flowOriginal = 1
	flowReply    = 2
	flowTimeout  = 7

	tupleAddresses = 1
	tupleProtocol  = 2

	addressFrom = 1
	addressTo   = 2

	protocolNumber   = 1
	protocolFrom     = 2
	protocolTo       = 3
	protocolEcho     = 4
	protocolEchoType = 5
	protocolEchoCode = 6
)

// flow is a connection as conntrack knows it.
type flow struct {
	original, reply tuple
	expires         time.Duration
}

// tuple is one direction of a flow. The ports of an ICMP echo are both its
// identifier.
type tuple struct {
	protocol byte
	from, to netip.AddrPort
}

// dialConntrack opens a socket for conntrack's messages.
func dialConntrack(namespace int) (*netlink.Conn, error) {
	return netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{NetNS: namespace})
}

// conntrackMessage is one about conntrack of IPv4.
func conntrackMessage(kind netlink.HeaderType, flags netlink.HeaderFlags, attributes ...netlink.Attribute) (netlink.Message, error) {
	data, err := netlink.MarshalAttributes(attributes)
	return netlink.Message{
		Header: netlink.Header{Type: kind, Flags: flags},
		Data:   append([]byte{unix.AF_INET, unix.NFNETLINK_V0, 0, 0}, data...),
	}, err
}

// execute sends a message and waits for the answer.
func execute(c *netlink.Conn, kind netlink.HeaderType, flags netlink.HeaderFlags, attributes ...netlink.Attribute) error {
	m, err := conntrackMessage(kind, flags, attributes...)
	if err != nil {
		return err
	}
	_, err = c.Execute(m)
	return missing(err)
}

// missing says what to do about a kernel that does not know the messages.
func missing(err error) error {
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("%w (the kernel has no nf_conntrack_netlink, or it is a module that is not loaded: modprobe nf_conntrack_netlink)", err)
	}
	return err
}

// forgetFlows empties the conntrack of the namespace.
func forgetFlows(namespace int) error {
	c, err := dialConntrack(namespace)
	if err == nil {
		defer c.Close()
		err = execute(c, conntrackDelete, netlink.Request|netlink.Acknowledge)
	}
	if err != nil {
		return fmt.Errorf("empty conntrack: %w", err)
	}
	return nil
}

// listFlows gives all flows of IPv4 in the namespace.
func listFlows(namespace int) ([]flow, error) {
	c, err := dialConntrack(namespace)
	if err != nil {
		return nil, fmt.Errorf("list conntrack: %w", err)
	}
	defer c.Close()
	m, err := conntrackMessage(conntrackGet, netlink.Request|netlink.Dump)
	if err != nil {
		return nil, fmt.Errorf("list conntrack: %w", err)
	}
	messages, err := c.Execute(m)
	if err != nil {
		return nil, fmt.Errorf("list conntrack: %w", missing(err))
	}
	var flows []flow
	for _, m := range messages {
		f, err := decodeFlow(m.Data)
		if err != nil {
			return nil, fmt.Errorf("list conntrack: flow %d: %w", len(flows)+1, err)
		}
		flows = append(flows, f)
	}
	return flows, nil
}

// decodeFlow reads the message of one flow.
func decodeFlow(message []byte) (flow, error) {
	var f flow
	if len(message) < netfilterHeader {
		return f, fmt.Errorf("message of %d bytes, want %d at least", len(message), netfilterHeader)
	}
	ad, err := netlink.NewAttributeDecoder(message[netfilterHeader:])
	if err != nil {
		return f, err
	}
	ad.ByteOrder = binary.BigEndian
	for ad.Next() {
		switch ad.Type() {
		case flowOriginal:
			ad.Nested(f.original.decode)
		case flowReply:
			ad.Nested(f.reply.decode)
		case flowTimeout:
			f.expires = time.Duration(ad.Uint32()) * time.Second
		}
	}
	return f, ad.Err()
}

func (t *tuple) decode(ad *netlink.AttributeDecoder) error {
	var from, to netip.Addr
	var fromPort, toPort uint16
	address := func(b []byte) netip.Addr {
		a, _ := netip.AddrFromSlice(b)
		return a
	}
	ad.ByteOrder = binary.BigEndian
	for ad.Next() {
		switch ad.Type() {
		case tupleAddresses:
			ad.Nested(func(ad *netlink.AttributeDecoder) error {
				for ad.Next() {
					switch ad.Type() {
					case addressFrom:
						from = address(ad.Bytes())
					case addressTo:
						to = address(ad.Bytes())
					}
				}
				return nil
			})
		case tupleProtocol:
			ad.Nested(func(ad *netlink.AttributeDecoder) error {
				ad.ByteOrder = binary.BigEndian
				for ad.Next() {
					switch ad.Type() {
					case protocolNumber:
						t.protocol = ad.Uint8()
					case protocolFrom:
						fromPort = ad.Uint16()
					case protocolTo:
						toPort = ad.Uint16()
					case protocolEcho:
						fromPort = ad.Uint16()
						toPort = fromPort
					}
				}
				return nil
			})
		}
	}
	t.from, t.to = netip.AddrPortFrom(from, fromPort), netip.AddrPortFrom(to, toPort)
	return nil
}

// trackedMappings gives the flows that are translated, and those of the router
// itself that stand in their way: their inside is the router's external side.
func trackedMappings(conn *nftables.Conn, sets []*nftables.Set) ([]Mapping, error) {
	var external []netip.Addr
	for _, s := range sets {
		if s.Name != setExternal {
			continue
		}
		elements, err := conn.GetSetElements(s)
		if err != nil {
			return nil, fmt.Errorf("mappings: list set %s: %w", s.Name, err)
		}
		for _, e := range elements {
			a, _ := netip.AddrFromSlice(e.Key)
			external = append(external, a)
		}
	}
	flows, err := listFlows(conn.NetNS)
	if err != nil {
		return nil, fmt.Errorf("mappings: %w", err)
	}
	var all []Mapping
	for _, f := range flows {
		i := slices.IndexFunc(protocols, func(p protocol) bool { return p.number == f.original.protocol })
		if i < 0 {
			continue
		}
		m := Mapping{Protocol: protocols[i].name, Inside: f.original.from, Remote: f.original.to, External: f.reply.to, Expires: f.expires}
		switch {
		case slices.Contains(external, m.External.Addr()):
		case slices.Contains(external, f.original.to.Addr()):
			m.Inside, m.External, m.Remote = f.original.to, f.original.to, f.original.from
		default:
			continue // between two hosts inside
		}
		if protocols[i].echo {
			m.Remote = netip.AddrPortFrom(m.Remote.Addr(), 0)
		}
		m.Filter = []FilterEntry{{Remote: m.Remote, Expires: m.Expires}}
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b Mapping) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), a.External.Compare(b.External), a.Remote.Compare(b.Remote))
	})
	return all, nil
}
