//go:build linux

package ruleset_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"p2pmodel/nat"
	"p2pmodel/nat/ruleset"
)

// refusal dials and gives what a program hears: of TCP when it connects, of UDP
// when it reads after it has sent.
func refusal(n *node, network, from, to string) error {
	n.t.Helper()
	var heard error
	n.do(func() error {
		d := net.Dialer{Timeout: 100 * time.Millisecond, LocalAddr: localAddr(network, from)}
		d.SetMultipathTCP(false)
		c, err := d.Dial(network, to)
		if err != nil {
			heard = err
			return nil
		}
		defer c.Close()
		if network == "udp4" {
			if _, heard = c.Write([]byte("probe")); heard == nil || errors.Is(heard, unix.EPERM) {
				must(n.t, c.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
				silent := heard
				if _, heard = c.Read(make([]byte, 16)); silent != nil && isTimeout(heard) {
					heard = silent
				}
			}
		}
		return nil
	})
	return heard
}

func localAddr(network, from string) net.Addr {
	a := netip.AddrPortFrom(netip.MustParseAddr(from), 0)
	if network == "udp4" {
		return net.UDPAddrFromAddrPort(a)
	}
	return net.TCPAddrFromAddrPort(a)
}

func isTimeout(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}

// What programs hear of refusals through real sockets, over a NAT on the same
// router, and on a NAT behind it.
func TestRefusalsThroughSockets(t *testing.T) {
	const tcp, udp = outsideA + ":8080", outsideA + ":53"
	for _, tt := range []struct {
		firewall string
		tcp, udp unix.Errno // 0: silence
	}{
		{"tcp-443-only", 0, 0},
		{"tcp-443-only,reject=in", 0, 0},
		{"tcp-443-only,reject=out", unix.EHOSTUNREACH, unix.EHOSTUNREACH},
		{"tcp-443-only,reject=both,tcp-reject=reset", unix.ECONNREFUSED, unix.EHOSTUNREACH},
		{"captive-portal,reject=out", unix.EHOSTUNREACH, unix.EHOSTUNREACH},
	} {
		for _, behavior := range []*nat.Behavior{nil, {Ports: nat.Sequential}} {
			t.Run(fmt.Sprint(tt.firewall, behavior), func(t *testing.T) {
				t.Parallel()
				policy, err := nat.ParseFirewall(tt.firewall)
				must(t, err)
				n := walled(t, policy)
				if behavior != nil {
					n.install(*behavior)
				}
				for _, c := range []struct {
					network, to string
					want        unix.Errno
				}{{"tcp4", tcp, tt.tcp}, {"udp4", udp, tt.udp}} {
					err := refusal(n.hosts[0], c.network, hostAddr(0), c.to)
					if ok := c.want != 0 && errors.Is(err, c.want) || c.want == 0 && isTimeout(err); !ok {
						t.Errorf("%s to %s: %v, want %v\n%s", c.network, c.to, err, c.want, n.dump())
					}
				}
			})
		}
	}
}

// A sender outside is told with the NAT's external address, not with that of the
// host inside: else its socket would not know what the error is about.
func TestRefusalOfWhatEntersThroughNAT(t *testing.T) {
	n := behind(t, nat.Behavior{Ports: nat.Sequential}, 1)
	must(t, ruleset.InstallFirewall(n.conn, ruleset.FirewallConfig{Router: "r", Outside: "wan", Policy: nat.Firewall{Inbound: nat.InboundReplies, Reject: nat.RejectEntering}}))
	ext := mapped(n.hosts[0].udp(hostAddr(0)+":7000"), n.outside.udp(outsideA+":3478"))
	fails(t, n.outside.connected(outsideB+":3478", ext.String()), unix.EHOSTUNREACH)
}

// A host's own firewall tells the host's programs at once: a silent one by EPERM,
// as on any Linux. Whoever it does not let in hears what the policy says.
func TestRefusalsOnHost(t *testing.T) {
	for _, tt := range []struct {
		firewall          string
		tcp, udp          unix.Errno // of the host's programs
		strangeT, strange unix.Errno // of programs of others
	}{
		{"tcp-443-only", 0, unix.EPERM, 0, 0},
		{"tcp-443-only,reject=both", unix.EHOSTUNREACH, unix.EHOSTUNREACH, unix.EHOSTUNREACH, unix.EHOSTUNREACH},
		{"tcp-443-only,reject=out,tcp-reject=reset", unix.ECONNREFUSED, unix.EHOSTUNREACH, 0, 0},
		{"open", unix.ECONNREFUSED, unix.ECONNREFUSED, unix.ECONNREFUSED, unix.ECONNREFUSED}, // nobody listens
	} {
		t.Run(tt.firewall, func(t *testing.T) {
			t.Parallel()
			policy, err := nat.ParseFirewall(tt.firewall)
			must(t, err)
			n := newNetwork(t, 1)
			n.outside.route("eth0", "192.168.1.0/24", "198.18.0.1")
			conn, err := nftables.New(nftables.WithNetNSFd(n.hosts[0].ns))
			must(t, err)
			must(t, ruleset.InstallFirewall(conn, ruleset.FirewallConfig{Router: "h", Host: true, Policy: policy}))
			for _, c := range []struct {
				from          *node
				network, addr string
				to            string
				want          unix.Errno
			}{
				{n.hosts[0], "tcp4", hostAddr(0), outsideA + ":80", tt.tcp},
				{n.hosts[0], "udp4", hostAddr(0), outsideA + ":53", tt.udp},
				{n.outside, "tcp4", outsideA, hostAddr(0) + ":80", tt.strangeT},
				{n.outside, "udp4", outsideA, hostAddr(0) + ":53", tt.strange},
				{n.hosts[0], "tcp4", hostAddr(0), hostAddr(0) + ":80", unix.ECONNREFUSED}, // to itself all passes
			} {
				err := refusal(c.from, c.network, c.addr, c.to)
				if ok := c.want != 0 && errors.Is(err, c.want) || c.want == 0 && isTimeout(err); !ok {
					t.Errorf("%s from %s to %s: %v, want %v\n%s", c.network, c.addr, c.to, err, c.want, render(conn))
				}
			}
			counts, err := ruleset.CountFirewall(conn)
			must(t, err)
			if shut := tt.firewall != "open"; (counts.Leaving > 0) != shut || (counts.Entering > 0) != shut {
				t.Errorf("counted %+v", counts)
			}
			must(t, ruleset.RemoveFirewall(conn))
		})
	}
	n := newNetwork(t, 1)
	for _, cfg := range []ruleset.FirewallConfig{
		{Host: true, Policy: nat.Firewall{Portal: nat.Portal{On: true}}},
		{Host: true, Access: access{Between: nat.Passage[[]netip.Addr]{Closed: true}}},
	} {
		if err := ruleset.InstallFirewall(n.conn, cfg); err == nil {
			t.Errorf("%+v was installed", cfg)
		}
	}
}

// Sessions end by themselves, a further login begins a new one, and logins are no
// part of the fingerprint.
func TestPortalSessions(t *testing.T) {
	n := newNetwork(t, 1)
	n.outside.route("eth0", "192.168.1.0/24", "198.18.0.1")
	policy := nat.Firewall{Portal: nat.Portal{On: true, Session: 400 * time.Millisecond}}
	must(t, ruleset.InstallFirewall(n.conn, ruleset.FirewallConfig{Router: "r", Outside: "wan", Policy: policy}))
	before, err := ruleset.Fingerprint(n.conn)
	must(t, err)
	inside, server := n.hosts[0].udp(hostAddr(0)+":7000"), n.outside.udp(outsideA+":3478")
	if reaches(inside, server.local(), server) || reaches(server, inside.local(), inside) {
		t.Error("somebody passes who is not logged in")
	}
	addr := netip.MustParseAddr(hostAddr(0))
	must(t, ruleset.Admit(n.conn, addr))
	if !reaches(inside, server.local(), server) || !reaches(server, inside.local(), inside) {
		t.Errorf("who is logged in does not pass\n%s", n.dump())
	}
	<-time.After(200 * time.Millisecond)
	must(t, ruleset.Admit(n.conn, addr))
	if left, err := ruleset.Admitted(n.conn); err != nil || len(left) != 1 || left[addr] < 300*time.Millisecond || left[addr] > policy.Portal.Session {
		t.Errorf("after another login the sessions are %v, %v", left, err)
	}
	if after, err := ruleset.Fingerprint(n.conn); err != nil || after != before {
		t.Errorf("the fingerprint changed with a login: %v", err)
	}
	<-time.After(policy.Portal.Session + 20*time.Millisecond)
	if reaches(inside, server.local(), server) {
		t.Error("a session outlives its time")
	}
	if counts, err := ruleset.CountFirewall(n.conn); err != nil || counts.Captive != 3 {
		t.Errorf("counted %+v, %v, want 3 packets of who is not logged in", counts, err)
	}
	if err := ruleset.Admit(n.conn, netip.MustParseAddr("::1")); err == nil {
		t.Error("an IPv6 address was admitted")
	}
	must(t, ruleset.RemoveFirewall(n.conn))
	if err := ruleset.Admit(n.conn, addr); err == nil {
		t.Error("somebody was admitted where there is no portal")
	}
}
