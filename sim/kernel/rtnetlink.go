//go:build linux

package kernel

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// rtnetlink is a route netlink socket of one namespace. Requests are gathered
// in a batch and sent together: a system call for dozens of them, and one
// acknowledgement, which is what makes a lab stand in milliseconds.
type rtnetlink struct {
	mu   sync.Mutex
	fd   int    // -1 once closed
	sent uint32 // the number of the last message
}

// openRtnetlink opens a socket in the namespace of the calling thread.
func openRtnetlink() (*rtnetlink, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket: %w%s", err, hintFor(err))
	}
	// Both make errors better and can be done without: the kernel's own words,
	// and no copy of the request beside them.
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1)
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("bind a netlink socket: %w", err)
	}
	return &rtnetlink{fd: fd}, nil
}

func (r *rtnetlink) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fd >= 0 {
		_ = unix.Close(r.fd)
		r.fd = -1
	}
}

// batch gathers requests. The zero value is empty.
type batch struct {
	messages []message
}

type message struct {
	what string // for the error
	data []byte
	// missing says that the request is content if what it removes is not there.
	missing bool
}

// What one send may hold: the default buffers are 208 kB, in which each message
// counts with its overhead; if all fail, as many answers must fit.
const (
	chunkBytes    = 32 << 10
	chunkMessages = 128
)

// do sends the batch and waits for its end. The kernel works through it in
// order and goes on after a failed request; the first failure is returned.
func (r *rtnetlink) do(b *batch) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fd < 0 {
		return errClosed
	}
	for rest := b.messages; len(rest) > 0; {
		n, size := 0, 0
		for n < min(len(rest), chunkMessages) && (n == 0 || size+len(rest[n].data) <= chunkBytes) {
			size += len(rest[n].data)
			n++
		}
		if err := r.send(rest[:n], size); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

// send sends messages in one system call. Only the last one asks for an
// acknowledgement; failures are always reported, before it.
func (r *rtnetlink) send(messages []message, size int) error {
	before := r.sent
	out := make([]byte, 0, size)
	for i, m := range messages {
		at := len(out)
		out = append(out, m.data...)
		r.sent++
		binary.NativeEndian.PutUint32(out[at+8:], r.sent)
		if i == len(messages)-1 {
			flags := binary.NativeEndian.Uint16(out[at+6:])
			binary.NativeEndian.PutUint16(out[at+6:], flags|unix.NLM_F_ACK)
		}
	}
	if err := unix.Sendto(r.fd, out, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("%s: send to netlink: %w", messages[0].what, err)
	}
	var first error
	in := make([]byte, 16<<10)
	for {
		n, _, err := unix.Recvfrom(r.fd, in, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: receive from netlink: %w", messages[0].what, err)
		}
		failure, last, err := acknowledged(in[:n], messages, before)
		if err != nil {
			return fmt.Errorf("%s: %w", messages[0].what, err)
		}
		if first == nil {
			first = failure
		}
		if last {
			return first
		}
	}
}

// acknowledged reads one datagram of acknowledgements of messages that are
// numbered on from before: the first failure, and whether the last message is
// among what it is about. Answers to earlier messages are ignored.
func acknowledged(data []byte, messages []message, before uint32) (failure error, last bool, err error) {
	const head = unix.SizeofNlMsghdr + 4 // header and error number
	for len(data) >= head {
		length := int(binary.NativeEndian.Uint32(data))
		if length < head || length > len(data) {
			return nil, false, fmt.Errorf("netlink answered with %d bytes that make no message", len(data))
		}
		seq := int(binary.NativeEndian.Uint32(data[8:]) - before)
		if binary.NativeEndian.Uint16(data[4:]) == unix.NLMSG_ERROR && seq >= 1 && seq <= len(messages) {
			m := messages[seq-1]
			errno := unix.Errno(-int32(binary.NativeEndian.Uint32(data[unix.SizeofNlMsghdr:])))
			gone := errno == unix.ENOENT || errno == unix.ESRCH || errno == unix.ENODEV || errno == unix.EADDRNOTAVAIL
			if errno != 0 && failure == nil && !(m.missing && gone) {
				failure = fmt.Errorf("%s: %w%s%s", m.what, errno, kernelWords(data[:length]), hintFor(errno))
			}
			last = last || seq == len(messages)
		}
		data = data[min(len(data), (length+3)&^3):]
	}
	return failure, last, nil
}

// kernelWords reads the extended acknowledgement of an error message.
func kernelWords(data []byte) string {
	const head = unix.SizeofNlMsghdr + 4 + unix.SizeofNlMsghdr // NETLINK_CAP_ACK: the request's header only
	if binary.NativeEndian.Uint16(data[6:])&unix.NLM_F_ACK_TLVS == 0 || len(data) < head {
		return ""
	}
	for attrs := data[head:]; len(attrs) >= unix.SizeofNlAttr; {
		length := int(binary.NativeEndian.Uint16(attrs))
		if length < unix.SizeofNlAttr || length > len(attrs) {
			break
		}
		if binary.NativeEndian.Uint16(attrs[2:]) == unix.NLMSGERR_ATTR_MSG {
			return " (" + unix.ByteSliceToString(attrs[unix.SizeofNlAttr:length]) + ")"
		}
		attrs = attrs[min(len(attrs), (length+3)&^3):]
	}
	return ""
}

func (b *batch) add(what string, kind, flags int, parts ...nl.NetlinkRequestData) *message {
	req := nl.NewNetlinkRequest(kind, flags)
	req.Flags &^= unix.NLM_F_ACK
	for _, p := range parts {
		req.AddData(p)
	}
	b.messages = append(b.messages, message{what: what, data: req.Serialize()})
	return &b.messages[len(b.messages)-1]
}

// veth makes a pair: near in the namespace of the socket and up, far in the
// namespace of the descriptor and down.
func (b *batch) veth(near, far *iface, farNamespace int) {
	head := nl.NewIfInfomsg(unix.AF_UNSPEC)
	head.Index = int32(near.index)
	head.Flags, head.Change = unix.IFF_UP, unix.IFF_UP
	one := nl.Uint32Attr(1) // queues: one a processor is the default, and slow to make
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, []byte("veth"))
	peer := info.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddRtAttr(nl.VETH_INFO_PEER, nil)
	nl.NewIfInfomsgChild(peer, unix.AF_UNSPEC).Index = int32(far.index)
	peer.AddRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(far.name))
	peer.AddRtAttr(unix.IFLA_ADDRESS, far.mac)
	peer.AddRtAttr(unix.IFLA_NUM_TX_QUEUES, one)
	peer.AddRtAttr(unix.IFLA_NUM_RX_QUEUES, one)
	peer.AddRtAttr(unix.IFLA_NET_NS_FD, nl.Uint32Attr(uint32(farNamespace)))
	b.add(fmt.Sprintf("make the interfaces %s and %s", near.name, far.name),
		unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, head,
		nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(near.name)),
		nl.NewRtAttr(unix.IFLA_ADDRESS, near.mac),
		nl.NewRtAttr(unix.IFLA_NUM_TX_QUEUES, one),
		nl.NewRtAttr(unix.IFLA_NUM_RX_QUEUES, one), info)
}

// state sets an interface up or down.
func (b *batch) state(i *iface, up bool) {
	head := nl.NewIfInfomsg(unix.AF_UNSPEC)
	head.Index = int32(i.index)
	head.Change = unix.IFF_UP
	what := "set interface " + i.name + " down"
	if up {
		head.Flags = unix.IFF_UP
		what = "set interface " + i.name + " up"
	}
	b.add(what, unix.RTM_SETLINK, 0, head)
}

// remove deletes an interface, with its other end.
func (b *batch) remove(i *iface) {
	head := nl.NewIfInfomsg(unix.AF_UNSPEC)
	head.Index = int32(i.index)
	b.add("remove interface "+i.name, unix.RTM_DELLINK, 0, head).missing = true
}

// address gives an interface an address without a subnet, or takes it.
func (b *batch) address(i *iface, addr netip.Addr, present bool) {
	head := nl.NewIfAddrmsg(familyOf(addr))
	head.Prefixlen = uint8(addr.BitLen())
	head.Index = uint32(i.index)
	local := nl.NewRtAttr(unix.IFA_LOCAL, addr.AsSlice())
	same := nl.NewRtAttr(unix.IFA_ADDRESS, addr.AsSlice())
	if present {
		b.add(fmt.Sprintf("add address %s to %s", addr, i.name),
			unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, head, local, same)
		return
	}
	b.add(fmt.Sprintf("take address %s from %s", addr, i.name), unix.RTM_DELADDR, 0, head, local, same).missing = true
}

// neighbor tells who has an address, for good: nobody asks on the wire, and the
// machine's neighbour table, which all namespaces share, cannot fill up.
func (b *batch) neighbor(i *iface, addr netip.Addr, mac net.HardwareAddr, present bool) {
	head := &netlink.Ndmsg{Family: uint8(familyOf(addr)), Index: uint32(i.index), State: unix.NUD_PERMANENT, Type: unix.RTN_UNICAST}
	dst := nl.NewRtAttr(unix.NDA_DST, addr.AsSlice())
	if present {
		b.add(fmt.Sprintf("add neighbour %s on %s", addr, i.name),
			unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, head, dst, nl.NewRtAttr(unix.NDA_LLADDR, mac))
		return
	}
	b.add(fmt.Sprintf("take neighbour %s from %s", addr, i.name), unix.RTM_DELNEIGH, 0, head, dst).missing = true
}

// hop is a route: to a prefix by an interface; through a gateway if it is
// valid, with a preferred source if it is.
type hop struct {
	to      netip.Prefix
	by      *iface
	gateway netip.Addr
	source  netip.Addr
	table   uint8 // 0: the main one
	mtu     int   // of packets that go this way; 0: the interface's
}

func (b *batch) route(h hop, present bool) {
	head := &nl.RtMsg{RtMsg: unix.RtMsg{
		Family:   uint8(familyOf(h.to.Addr())),
		Dst_len:  uint8(h.to.Bits()),
		Table:    cmp.Or(h.table, unix.RT_TABLE_MAIN),
		Protocol: unix.RTPROT_STATIC,
		Scope:    unix.RT_SCOPE_LINK,
		Type:     unix.RTN_UNICAST,
	}}
	parts := []nl.NetlinkRequestData{head, nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(uint32(h.by.index)))}
	if h.to.Bits() > 0 {
		parts = append(parts, nl.NewRtAttr(unix.RTA_DST, h.to.Addr().AsSlice()))
	}
	if h.gateway.IsValid() {
		// The gateway is in no subnet of ours: every link is point to point.
		head.Scope, head.Flags = unix.RT_SCOPE_UNIVERSE, unix.RTNH_F_ONLINK
		parts = append(parts, nl.NewRtAttr(unix.RTA_GATEWAY, h.gateway.AsSlice()))
	}
	if h.source.IsValid() {
		parts = append(parts, nl.NewRtAttr(unix.RTA_PREFSRC, h.source.AsSlice()))
	}
	if h.mtu > 0 {
		metrics := nl.NewRtAttr(unix.RTA_METRICS, nil)
		metrics.AddRtAttr(unix.RTAX_MTU, nl.Uint32Attr(uint32(h.mtu)))
		parts = append(parts, metrics)
	}
	if present {
		b.add(fmt.Sprintf("add route to %s by %s", h.to, h.by.name),
			unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, parts...)
		return
	}
	b.add(fmt.Sprintf("take route to %s by %s", h.to, h.by.name), unix.RTM_DELROUTE, 0, parts...).missing = true
}

// sourceRule has packets from an address routed by a table, or no more.
func (b *batch) sourceRule(from netip.Addr, table uint8, priority uint32, present bool) {
	head := &nl.RtMsg{RtMsg: unix.RtMsg{
		Family: uint8(familyOf(from)), Src_len: uint8(from.BitLen()), Table: table, Type: unix.FR_ACT_TO_TBL,
	}}
	source := nl.NewRtAttr(unix.FRA_SRC, from.AsSlice())
	order := nl.NewRtAttr(unix.FRA_PRIORITY, nl.Uint32Attr(priority))
	if present {
		b.add(fmt.Sprintf("route what comes from %s by itself", from), unix.RTM_NEWRULE, unix.NLM_F_CREATE, head, source, order)
		return
	}
	b.add(fmt.Sprintf("route what comes from %s as the rest", from), unix.RTM_DELRULE, 0, head, source, order).missing = true
}

func familyOf(a netip.Addr) int {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// single is the prefix of one address.
func single(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// anywhere is the default route's prefix of the family of a.
func anywhere(a netip.Addr) netip.Prefix {
	if a.Is4() {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}

// mtu sets the size of the largest packet that an interface sends.
func (b *batch) mtu(i *iface, bytes uint32) {
	head := nl.NewIfInfomsg(unix.AF_UNSPEC)
	head.Index = int32(i.index)
	b.add("set the MTU of interface "+i.name, unix.RTM_SETLINK, 0, head, nl.NewRtAttr(unix.IFLA_MTU, nl.Uint32Attr(bytes)))
}
