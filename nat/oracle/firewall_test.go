package oracle_test

import (
	"strings"
	"testing"

	"p2pmodel/nat/oracle"
)

// TestFirewallKinds: each kind of firewall in a chain, on a router or as a host's
// own, which stands innermost.
func TestFirewallKinds(t *testing.T) {
	type c = []string
	for _, row := range []struct {
		name     string
		a, b     []string
		loggedIn []string // at every portal
		path     oracle.Path
		why      string
	}{
		{"stateful", c{"fw:stateful"}, c{"nat:port-restricted"}, nil, "direct", ""},
		{"with rejections, which change nothing", c{"fw:stateful,reject=both"}, c{"nat:port-restricted"}, nil, "direct", ""},
		{"UDP blocked", c{"office fw:udp-blocked"}, c{}, nil, "none", "(office: port blocked)"},
		{"UDP to the servers only", c{"fw:stateful,udp=3478"}, c{"nat:full-cone"}, nil, "relay", ""},
		{"UDP to other ports only", c{"office fw:stateful,udp=53+443"}, c{"nat:full-cone"}, nil, "none", "(office: port blocked)"},
		{"TCP 443 only", c{"office fw:tcp-443-only"}, c{}, nil, "none", "(office: port blocked)"},
		{"TCP 443 only, behind a NAT", c{"nat:full-cone", "office fw:tcp-443-only,reject=out"}, c{}, nil, "none", "(office: port blocked)"},
		{"TCP to one port only, UDP free", c{"fw:open,tcp=443,other=none"}, c{"nat:symmetric"}, nil, "direct", ""},

		{"a portal, nobody logged in", c{"hotel fw:captive-portal"}, c{"nat:full-cone"}, nil, "none", "(hotel: not logged in)"},
		{"the other one logged in", c{"hotel fw:captive-portal"}, c{"nat:full-cone"}, []string{"b"}, "none", "(hotel: not logged in)"},
		{"logged in", c{"hotel fw:captive-portal"}, c{"nat:full-cone"}, []string{"a"}, "direct", ""},
		{"logged in, and the firewall's policy holds", c{"hotel fw:captive-portal,udp=3478"}, c{"nat:full-cone"}, []string{"a"}, "relay", ""},
		{"logged in, and UDP is blocked", c{"hotel fw:udp-blocked,portal=1h"}, c{"nat:full-cone"}, []string{"a"}, "none", "(hotel: port blocked)"},
		{"a portal and a NAT on one router", c{"hotel nat:port-restricted fw:captive-portal"}, c{"nat:port-restricted"}, []string{"a"}, "direct", ""},
		{"a portal beyond a home router, whose address is logged in", c{"nat:port-restricted", "hotel fw:captive-portal"}, c{"nat:port-restricted"}, []string{"a"}, "direct", ""},
		{"a portal that is behind another one", c{"room fw:captive-portal", "hotel fw:captive-portal"}, c{"nat:full-cone"}, []string{"a"}, "direct", ""},
		{"two in one hotel, one logged in", c{"hotel fw:captive-portal"}, c{"hotel fw:captive-portal"}, []string{"a"}, "none", "(hotel: not logged in)"},
		{"two in one hotel, logged in", c{"hotel fw:captive-portal"}, c{"hotel fw:captive-portal"}, []string{"a", "b"}, "direct", ""},
		{"a way to the portal that is closed", c{"office fw:stateful,tcp=443", "hotel fw:captive-portal"}, c{"nat:full-cone"}, []string{"a"}, "none", "(hotel: not logged in)"},

		{"a host's own firewall", c{"own fw:stateful", "nat:full-cone"}, c{"nat:symmetric"}, nil, "relay", ""},
		{"a host's own firewall, and a cone", c{"own fw:stateful", "nat:full-cone"}, c{"nat:port-restricted"}, nil, "direct", ""},
		{"a host without UDP of its own", c{"own fw:udp-blocked", "nat:full-cone"}, c{}, nil, "none", "(own: port blocked)"},
		{"a host that takes nothing and may not ask the peer", c{"own fw:stateful,udp=3478", "nat:full-cone"}, c{"nat:full-cone"}, nil, "relay", ""},
		{"both hosts guarded in one home", c{"x fw:stateful", "home nat:symmetric"}, c{"y fw:stateful", "home nat:symmetric"}, nil, "direct", ""},
	} {
		a, b := chain(t, row.a...), chain(t, row.b...)
		for _, side := range []oracle.Chain{a, b} {
			for i := range side {
				if side[i].Firewall != nil && side[i].Firewall.Portal.On {
					side[i].LoggedIn = row.loggedIn
				}
			}
		}
		for _, way := range []struct {
			chains [2]oracle.Chain
			peers  [2]string
		}{{[2]oracle.Chain{a, b}, [2]string{"a", "b"}}, {[2]oracle.Chain{b, a}, [2]string{"b", "a"}}} {
			e := expect(t, way.chains[0], way.chains[1], oracle.Options{Peers: way.peers})
			if e.Path != row.path || !strings.Contains(e.Why, row.why) {
				t.Errorf("%s: %s (%s), want %s and %q", row.name, e.Path, e.Why, row.path, row.why)
			}
		}
	}
	differ := chain(t, "hotel fw:captive-portal")
	differ[0].LoggedIn = []string{"a"}
	if _, err := oracle.Expect(chain(t, "hotel fw:captive-portal"), differ, oracle.Options{}); err == nil || !strings.Contains(err.Error(), "differs between them") {
		t.Errorf("a portal at which different hosts are logged in: %v", err)
	}
}
