//go:build linux

package capture_test

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"p2pmodel/sim/kernel/capture"
	"p2pmodel/sim/witness"
)

// TestWitnessOfARealNAT lets the witness judge packets of the kernel: a host
// behind a router that masquerades, a host on the other side, and all four
// interfaces captured.
func TestWitnessOfARealNAT(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to make network namespaces: run as root, or with `unshare -rn`")
	}
	r, err := capture.New(0)
	must(t, err)
	t.Cleanup(func() { must(t, r.Close()) })
	var spaces [3]netns.NsHandle // a, r, b
	for i := range spaces {
		spaces[i] = netns.None()
		inside(t, &spaces[i], func() error { return nil })
		t.Cleanup(func() { spaces[i].Close() })
	}
	ns := map[string]*netns.NsHandle{"a": &spaces[0], "r": &spaces[1], "b": &spaces[2]}
	for _, host := range []string{"a", "b"} {
		inside(t, ns[host], func() error {
			return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "uplink"}, PeerName: "to-" + host, PeerNamespace: netlink.NsFd(int(*ns["r"]))})
		})
	}
	for _, end := range []struct {
		node, link, address string
		point               witness.Point
	}{
		{"a", "uplink", "10.0.0.2/24", witness.Point{Node: "a", Interface: "uplink"}},
		{"r", "to-a", "10.0.0.1/24", witness.Point{Node: "r", Interface: "to a"}},
		{"r", "to-b", "198.18.0.1/24", witness.Point{Node: "r", Interface: "uplink"}},
		{"b", "uplink", "198.18.0.2/24", witness.Point{Node: "b", Interface: "uplink"}},
	} {
		inside(t, ns[end.node], func() error {
			l, err := netlink.LinkByName(end.link)
			if err != nil {
				return err
			}
			address, err := netlink.ParseAddr(end.address)
			if err != nil {
				return err
			}
			if err := netlink.AddrAdd(l, address); err != nil {
				return err
			}
			if err := netlink.LinkSetUp(l); err != nil {
				return err
			}
			fd, err := capture.Open(l.Attrs().Index)
			if err != nil {
				return err
			}
			return r.Add(end.point, fd)
		})
	}
	inside(t, ns["a"], func() error {
		_, everywhere, _ := net.ParseCIDR("0.0.0.0/0")
		return netlink.RouteAdd(&netlink.Route{Dst: everywhere, Gw: net.IPv4(10, 0, 0, 1)})
	})
	inside(t, ns["r"], func() error {
		if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
			return err
		}
		c, err := nftables.New()
		if err != nil {
			return err
		}
		table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "nat"})
		chain := c.AddChain(&nftables.Chain{Name: "post", Table: table, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource})
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
			&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte("to-b\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")},
			&expr.Masq{},
		}})
		return c.Flush()
	})
	var a, b *net.UDPConn
	inside(t, ns["a"], func() (err error) { a, err = net.ListenUDP("udp4", &net.UDPAddr{Port: 5000}); return })
	inside(t, ns["b"], func() (err error) { b, err = net.ListenUDP("udp4", &net.UDPAddr{Port: 6000}); return })
	defer a.Close()
	defer b.Close()

	start := time.Now()
	buffer := make([]byte, 100)
	for i := range 10 {
		_, err := a.WriteTo(fmt.Appendf(nil, "from a, number %d", i), &net.UDPAddr{IP: net.IPv4(198, 18, 0, 2), Port: 6000})
		must(t, err)
		must(t, b.SetReadDeadline(time.Now().Add(patience)))
		_, from, err := b.ReadFrom(buffer)
		must(t, err)
		_, err = b.WriteTo(fmt.Appendf(nil, "from b, number %d", i), from)
		must(t, err)
		must(t, a.SetReadDeadline(time.Now().Add(patience)))
		_, _, err = a.ReadFrom(buffer)
		must(t, err)
	}
	// Nobody has a mapping on this port: the router drops it, and says so.
	_, err = b.WriteTo([]byte("unsolicited"), &net.UDPAddr{IP: net.IPv4(198, 18, 0, 1), Port: 9})
	must(t, err)

	scene := witness.Scene{Hosts: []string{"a", "b"}}
	packets := r.Packets()
	deliveries, err := witness.Deliveries(packets, scene, "a", "b")
	must(t, err)
	if path := witness.ObservedPath(deliveries, start, witness.PathWindow); path != witness.Direct {
		t.Errorf("path %v (%v)", path, witness.Tally(deliveries, start, witness.PathWindow))
	}
	if got, want := witness.Tally(deliveries, start, 0).String(), "a → b: 10 direct, 0 relay, 0 lost; b → a: 10 direct, 0 relay, 1 lost"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	first, _ := witness.FirstByte(deliveries)
	if first.Sender.Src.Addr() != netip.MustParseAddr("10.0.0.2") || first.Receiver.Src.Addr() != netip.MustParseAddr("198.18.0.1") {
		t.Errorf("%v does not show the addresses before and after the NAT", first)
	}

	// The same bytes seen by a relay: it is the address that makes it one.
	relayed, err := witness.Deliveries(packets, witness.Scene{Hosts: scene.Hosts, Relay: []netip.Addr{netip.MustParseAddr("198.18.0.1")}}, "a", "b")
	must(t, err)
	if _, ok := witness.EverDirect(relayed, start, time.Time{}); ok {
		t.Error("direct, though b sees a relay's address")
	}

	checks, err := witness.Checks(packets, scene, "b", "a")
	must(t, err)
	last := checks[len(checks)-1]
	if last.Entered || last.Trace.Fate() != "died inside r, after it came in at uplink" {
		t.Errorf("%v", last)
	}
	var ladder []string
	for _, trace := range witness.Traces(packets, scene) {
		ladder = append(ladder, trace.String())
	}
	for _, want := range []string{
		"UDP 16 B payload: (10.0.0.2:5000 → 198.18.0.2:6000) a:uplink r:to a (198.18.0.1:5000 → 198.18.0.2:6000) r:uplink b:uplink; entered b",
		"UDP 16 B payload: (198.18.0.2:6000 → 198.18.0.1:5000) b:uplink r:uplink (198.18.0.2:6000 → 10.0.0.2:5000) r:to a a:uplink; entered a",
		"ICMP port unreachable: (198.18.0.1:0 → 198.18.0.2:0) r:uplink b:uplink; entered b",
	} {
		found := false
		for _, l := range ladder {
			found = found || l == want
		}
		if !found {
			t.Errorf("no trace\n%s\namong\n%s", want, strings.Join(ladder, "\n"))
		}
	}
	must(t, r.Dropped().Err())
}
