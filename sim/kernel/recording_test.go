//go:build linux

package kernel_test

import (
	"io"
	"net"
	"strings"
	"testing"

	"p2pmodel/sim"
)

// What a verdict needs of TCP is who connected to whom; the streams are left out
// on demand, UDP never is.
func TestCapturesLeaveOutStreamsOnDemand(t *testing.T) {
	const protocolTCP, protocolUDP, size = 6, 17, 100 << 10
	for _, connections := range []bool{false, true} {
		n := standWith(t, pair, sim.Options{Connections: connections})
		server, err := host(t, n, "relay").Listen(t.Context(), "tcp", ":443")
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			if c, err := server.Accept(); err == nil {
				_, _ = c.Write(make([]byte, size))
				c.Close()
			}
		}()
		c, err := host(t, n, "a").Dial(t.Context(), "tcp", net.JoinHostPort(addressOf(n, "relay").String(), "443"))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.Copy(io.Discard, c); got != size {
			t.Fatalf("%d bytes came: %v", got, err)
		}
		c.Close()
		server.Close()
		seenFrom(t, bind(t, host(t, n, "a")), echo(t, host(t, n, "relay"), addressOf(n, "relay")))

		bytes, tcp, udp := 0, 0, 0
		for _, p := range n.Packets() {
			switch p.Protocol {
			case protocolTCP:
				tcp++
				bytes += len(p.Data)
			case protocolUDP:
				udp++
			}
		}
		// Four points see a SYN and its answer, and a FIN of each side.
		if streams := bytes > size; streams == connections || tcp < 4*4 || udp == 0 {
			t.Errorf("connections only: %v: captured %d bytes in %d TCP packets, and %d UDP packets", connections, bytes, tcp, udp)
		}
	}
}

func TestATapSeesWhatPassesANode(t *testing.T) {
	n := standWith(t, pair, sim.Options{Unrecorded: true})
	if _, err := n.Tap("b", "wifi"); err == nil || !strings.Contains(err.Error(), `no interface "wifi"; it has uplink`) {
		t.Errorf("an interface that is not there: %v", err)
	}
	if _, err := n.Tap("nobody", ""); err == nil || !strings.Contains(err.Error(), `no node "nobody"`) {
		t.Errorf("a node that is not there: %v", err)
	}
	tap, err := n.Tap("nat-a", "")
	if err != nil {
		t.Fatal(err)
	}
	outer, err := n.Tap("nat-a", "uplink")
	if err != nil {
		t.Fatal(err)
	}
	server := echo(t, host(t, n, "relay"), addressOf(n, "relay"))
	conn := bind(t, host(t, n, "a"))
	for round := range 3 {
		if ask(t, conn, server, patient) == "" {
			t.Fatal("no answer")
		}
		if got := len(tap.Take()); got != 4 {
			t.Errorf("round %d: %d packets at both sides of the NAT, want request and answer at each", round, got)
		}
	}
	if err := outer.Close(); err != nil {
		t.Error(err)
	}
	if got := len(outer.Take()); got != 6 {
		t.Errorf("%d packets outside, want 6", got)
	}
	if got := n.Packets(); len(got) > 0 {
		t.Errorf("%d packets were recorded", len(got))
	}
	// The first tap is left open: the lab closes it.
}
