package oracle_test

import (
	"strings"
	"testing"

	"p2pmodel/nat/oracle"
)

// TestServersOverStreams: servers that also listen for TCP to port 443, and who needs
// that. Without it the same chains have no path.
func TestServersOverStreams(t *testing.T) {
	type c = []string
	const only443, noUDP = "office fw:tcp-443-only", "office fw:udp-blocked"
	for _, row := range []struct {
		name          string
		a, b          []string
		path, without oracle.Path // with the port, and without
		streams       [2]bool
	}{
		{"TCP 443 only", c{only443}, c{"nat:full-cone"}, "relay", "none", [2]bool{true, false}},
		{"TCP 443 only, behind a NAT", c{"nat:symmetric", only443}, c{}, "relay", "none", [2]bool{true, false}},
		{"both", c{only443}, c{"other nat:linux fw:tcp-443-only"}, "relay", "none", [2]bool{true, true}},
		{"both behind one firewall", c{only443}, c{only443}, "direct", "none", [2]bool{true, true}},
		{"UDP blocked", c{noUDP}, c{"nat:full-cone"}, "relay", "none", [2]bool{true, false}},
		{"TCP to another port only", c{"office fw:stateful,udp=none,tcp=80"}, c{}, "none", "none", [2]bool{}},
		{"a portal, nobody logged in", c{"hotel fw:captive-portal"}, c{}, "none", "none", [2]bool{}},
		{"nothing in the way", c{"nat:full-cone"}, c{"nat:full-cone"}, "direct", "direct", [2]bool{}},
		{"UDP to the servers", c{"fw:stateful,udp=3478,tcp=443"}, c{"nat:full-cone"}, "relay", "relay", [2]bool{}},
	} {
		for turn, way := range [][2][]string{{row.a, row.b}, {row.b, row.a}} {
			a, b := chain(t, way[0]...), chain(t, way[1]...)
			streams := row.streams
			if turn == 1 {
				streams[0], streams[1] = streams[1], streams[0]
			}
			e := expect(t, a, b, oracle.Options{StreamPort: 443})
			if e.Path != row.path || e.Streams != streams {
				t.Errorf("%s: %s, by TCP only %v (%s); want %s, %v", row.name, e.Path, e.Streams, e.Why, row.path, streams)
			}
			if streams[0] && !strings.Contains(e.Why, "the first peer reaches servers by TCP to port 443 only") {
				t.Errorf("%s: %s", row.name, e.Why)
			}
			if e := expect(t, a, b, oracle.Options{}); e.Path != row.without || e.Streams != [2]bool{} {
				t.Errorf("%s, without the port: %s (%s), want %s", row.name, e.Path, e.Why, row.without)
			}
		}
	}
	e := expect(t, chain(t, "office fw:stateful,udp=none,tcp=80"), nil, oracle.Options{StreamPort: 443})
	if want := "by UDP to port 3478, nor by TCP to port 443 (office: port blocked)"; !strings.Contains(e.Why, want) {
		t.Errorf("%q says not %q", e.Why, want)
	}
}
