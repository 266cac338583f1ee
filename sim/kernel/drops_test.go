//go:build linux

package kernel_test

import (
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"p2pmodel/sim/witness"
)

// TestEveryDropSaysWhereAndWhy sends packets that die in every kind of place, and
// finds for each what took it.
func TestEveryDropSaysWhereAndWhy(t *testing.T) {
	n := stand(t, `
lab:
  routers:
    home: {nat: "mapping=EIM,filtering=APDF,ports=sequential,timeout=300ms"}
    office: {firewall: stateful}
  hosts:
    a: {behind: home}
    b: {behind: office}
    server: {}
    stranger: {}
`)
	if _, err := n.Drops(); err != nil {
		t.Skipf("needs a kernel with nfnetlink_log: %v", err)
	}
	socket := func(name string) (net.PacketConn, netip.AddrPort) {
		t.Helper()
		h := host(t, n, name)
		c, err := h.ListenPacket(t.Context(), "udp4", ":0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c, netip.AddrPortFrom(addressOf(n, name), c.LocalAddr().(*net.UDPAddr).AddrPort().Port())
	}
	a, _ := socket("a")
	server, serverAt := socket("server")
	stranger, _ := socket("stranger")
	_, b := socket("b")
	send := func(from net.PacketConn, to netip.AddrPort, text string) {
		t.Helper()
		if _, err := from.WriteTo([]byte(text), net.UDPAddrFromAddrPort(to)); err != nil {
			t.Fatal(err)
		}
	}

	send(a, serverAt, "makes a mapping")
	buffer := make([]byte, 64)
	_, seen, err := server.ReadFrom(buffer)
	if err != nil {
		t.Fatal(err)
	}
	external := seen.(*net.UDPAddr).AddrPort()
	send(stranger, external, "knocks at the filter")
	send(stranger, netip.AddrPortFrom(external.Addr(), 60000), "knocks where nobody is")
	send(stranger, b, "knocks at the firewall")
	send(stranger, netip.MustParseAddrPort("192.168.1.2:9"), "is for a private address")
	soon(t, "the mapping expires", func() bool {
		mappings, err := router(t, n, "home").Mappings()
		return err == nil && mappings == "no mappings\n"
	})
	send(server, external, "comes too late")
	send(stranger, netip.MustParseAddrPort("198.18.200.1:9"), "is for nobody")
	if err := host(t, n, "stranger").Restrict([]netip.Addr{b.Addr()}); err != nil {
		t.Fatal(err)
	}
	send(stranger, serverAt, "may not be sent")
	if err := linkOf(t, n, "server", "").Cut(); err != nil {
		t.Fatal(err)
	}
	send(a, serverAt, "runs into a cut link")

	fates := func() map[string]string {
		scene := witness.Scene{Hosts: []string{"a", "b", "server", "stranger"}}
		traces := witness.Traces(n.Packets(), scene)
		drops, err := n.Drops()
		if err != nil {
			t.Fatal(err)
		}
		witness.Attribute(traces, drops, nil)
		got := map[string]string{}
		for _, tr := range traces {
			if !tr.Arrived && len(tr.Payload) > 0 {
				got[string(tr.Payload)] = tr.Fate()
			}
		}
		return got
	}
	want := map[string]string{
		"is for nobody":            "died inside internet: nobody has the address",
		"knocks at the filter":     "died inside home: filtered",
		"knocks where nobody is":   "died inside home: no mapping",
		"knocks at the firewall":   "died inside office: firewall: may not enter",
		"is for a private address": "died inside internet: private address",
		"comes too late":           "died inside home: expired mapping",
		"may not be sent":          "died on the link of stranger, after stranger: restriction",
		"runs into a cut link":     "died on the link of server, after internet: cut",
	}
	var got map[string]string
	deadline := time.Now().Add(30 * time.Second)
	for len(got) < len(want) && time.Now().Before(deadline) {
		got = fates()
	}
	for text, fate := range want {
		if got[text] != fate {
			t.Errorf("%q %s, want: %s", text, got[text], fate)
		}
	}
	if t.Failed() {
		drops, _ := n.Drops()
		slices.SortFunc(drops, func(a, b witness.Drop) int { return a.At.Compare(b.At) })
		for _, d := range drops {
			t.Log(d.At.Format("05.000000"), d)
		}
	}
}

// TestDropsTellWhoLeft: what is for a host that has left its uplink dies on that
// link, though it is a plain one without a carrier; and what comes when it is back
// arrives.
func TestDropsTellWhoLeft(t *testing.T) {
	t.Parallel()
	n := stand(t, `
lab:
  routers:
    home: {nat: full-cone}
  hosts:
    phone: {uplinks: {wifi: {behind: home}, 4g: {}}}
    server: {}
`)
	if _, err := n.Drops(); err != nil {
		t.Skipf("needs a kernel with nfnetlink_log: %v", err)
	}
	phone := host(t, n, "phone")
	here, err := phone.ListenPacket(t.Context(), "udp4", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	there, err := host(t, n, "server").ListenPacket(t.Context(), "udp4", ":9000")
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	if _, err := here.WriteTo([]byte("makes a mapping"), net.UDPAddrFromAddrPort(netip.AddrPortFrom(addressOf(n, "server"), 9000))); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 64)
	_, external, err := there.ReadFrom(buffer)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ uplink, text, fate string }{
		{"4g", "is for who left", "died on the link of phone/wifi, after home: unplugged"},
		{"wifi", "is for who is back", "entered phone"},
	} {
		if err := phone.Move(step.uplink); err != nil {
			t.Fatal(err)
		}
		if _, err := there.WriteTo([]byte(step.text), external); err != nil {
			t.Fatal(err)
		}
		soon(t, step.text+" "+step.fate, func() bool {
			traces := witness.Traces(n.Packets(), witness.Scene{Hosts: []string{"phone", "server"}})
			drops, err := n.Drops()
			if err != nil {
				t.Fatal(err)
			}
			witness.Attribute(traces, drops, nil)
			return slices.ContainsFunc(traces, func(tr witness.Trace) bool { return string(tr.Payload) == step.text && tr.Fate() == step.fate })
		})
	}
}
