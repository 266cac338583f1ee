package kernelpath

import (
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// TestRoutes: a peer behind a gateway is reached by it, and what changes of the route counts
// within moments.
func TestRoutes(t *testing.T) {
	r := start(t, true, true, true, true)
	behind := netip.MustParseAddrPort("192.0.2.129:6000")
	host := &net.IPNet{IP: behind.Addr().AsSlice(), Mask: net.CIDRMask(32, 32)}
	other := &far{t: t, ns: r.peer.ns}
	inside(t, func() error {
		err := netns.Set(r.peer.ns)
		if err != nil {
			return err
		}
		up, err := netlink.LinkByName("up")
		if err == nil {
			err = netlink.AddrAdd(up, &netlink.Addr{IPNet: host})
		}
		if err == nil {
			other.conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(behind))
		}
		return err
	})
	defer other.conn.Close()
	route := netlink.Route{Dst: host, Gw: farPeer.Addr().AsSlice()}
	if err := netlink.RouteAdd(&route); err != nil {
		t.Fatal(err)
	}
	r.user.Permit(time.Now(), behind)
	r.until(func() bool { return r.stats().Permissions == 2 })
	if err := r.user.Send(time.Now(), behind, []byte("first")); err != nil {
		t.Fatal(err)
	}
	r.until(func() bool { return r.stats().Channels == 2 })
	other.read()

	r.peer, r.number = other, 0x4001
	if a, b := r.through(900); a != 1 || b != 1 {
		t.Fatalf("%d and %d datagrams passed on by a gateway, want both", a, b)
	}
	route.MTU = 600
	if err := netlink.RouteReplace(&route); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; {
		large, _ := r.through(900)
		small, back := r.through(500)
		if large == 0 && small == 1 && back == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after the route has an MTU of 600: %d of 900 and %d of 500 bytes passed on, %d back; want 0, 1, 1", large, small, back)
		}
	}
}

// TestInterfaceWithoutEthernet: what goes by a tunnel is the server's, and the log says so once.
func TestInterfaceWithoutEthernet(t *testing.T) {
	var log strings.Builder
	p := open(t)
	tunnel := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "tunnel"}, Mode: netlink.TUNTAP_MODE_TUN}
	if err := netlink.LinkAdd(tunnel); err != nil {
		t.Skipf("LEFT OUT: no tunnel to try it with: %v", err)
	}
	defer func() { _ = netlink.LinkDel(tunnel) }()
	l, err := netlink.LinkByName("tunnel")
	if err != nil {
		t.Fatal(err)
	}
	index := l.Attrs().Index
	// The watch hears of the new interface, and looks at all of them.
	p.routes.lock.Lock()
	defer p.routes.lock.Unlock()
	p.routes.log = slog.New(slog.NewTextHandler(&log, nil))
	for range 2 {
		if a := p.routes.at(index); a.link != nil {
			t.Error("the program is at a tunnel")
		}
		delete(p.routes.attached, index)
	}
	if strings.Count(log.String(), "not Ethernet's") != 1 {
		t.Errorf("it has logged %q, want the reason once", log.String())
	}
}
