//go:build linux

package foreign_test

import (
	"fmt"
	"regexp"
	"testing"

	"p2pmodel/sim"
)

// stunResult is the end of what Debian's stun client prints; its exit code is the
// return value.
var stunResult = regexp.MustCompile(`(?m)^Primary: ([^\t\n]+)\t?\nReturn value is 0x([0-9a-f]{6})\n\z`)

// TestStunClient has Debian's stun client, a program of 2003, classify NATs and
// firewalls in the terms of RFC 3489, whose requests have no magic cookie.
//
// It knows one word for all NATs whose mapping depends on the destination: it
// asks a second address only, never a second port, and does not say how they
// filter. "Preserves ports" and "random port" are whether the first mapping has
// the inside port. A hairpin is tried from a socket to its own mapping, which is
// then open to itself: with EIM always, else where anybody may enter. Internal
// hairpins cannot be seen from one host: the packet has the host's own address
// as source, and Linux drops such.
//
// The return value is the type, plus 1 for preserved ports, plus 16 for no
// hairpin.
func TestStunClient(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		router string
		says   string
		value  int
	}{
		{`nat: "mapping=EIM,filtering=EIF,ports=sequential"`, "Independent Mapping, Independent Filter, random port, no hairpin", 0x12},
		{`nat: "mapping=EIM,filtering=ADF,ports=sequential"`, "Independent Mapping, Address Dependent Filter, random port, no hairpin", 0x14},
		{`nat: "mapping=EIM,filtering=APDF,ports=sequential"`, "Independent Mapping, Port Dependent Filter, random port, no hairpin", 0x16},
		{`nat: "mapping=ADM,filtering=EIF,ports=sequential"`, "Dependent Mapping, random port, no hairpin", 0x18},
		{`nat: "mapping=ADM,filtering=ADF,ports=sequential"`, "Dependent Mapping, random port, no hairpin", 0x18},
		{`nat: "mapping=ADM,filtering=APDF,ports=sequential"`, "Dependent Mapping, random port, no hairpin", 0x18},
		{`nat: "mapping=APDM,filtering=EIF,ports=sequential"`, "Dependent Mapping, random port, no hairpin", 0x18},
		{`nat: "mapping=APDM,filtering=ADF,ports=sequential"`, "Dependent Mapping, random port, no hairpin", 0x18},
		{`nat: "mapping=APDM,filtering=APDF,ports=sequential"`, "Dependent Mapping, random port, no hairpin", 0x18},

		{"nat: full-cone", "Independent Mapping, Independent Filter, preserves ports, no hairpin", 0x13},
		{"nat: restricted-cone", "Independent Mapping, Address Dependent Filter, preserves ports, no hairpin", 0x15},
		{"nat: port-restricted-cone", "Independent Mapping, Port Dependent Filter, preserves ports, no hairpin", 0x17},
		{"nat: symmetric", "Dependent Mapping, random port, no hairpin", 0x18},
		{`nat: "symmetric,ports=preserve"`, "Dependent Mapping, preserves ports, no hairpin", 0x19},
		// A range of its own, for a random port may be the inside one by chance.
		{`nat: "full-cone,ports=random,range=40000-65535"`, "Independent Mapping, Independent Filter, random port, no hairpin", 0x12},

		{`nat: "full-cone,hairpin=external"`, "Independent Mapping, Independent Filter, preserves ports, will hairpin", 0x03},
		{`nat: "restricted-cone,hairpin=external"`, "Independent Mapping, Address Dependent Filter, preserves ports, will hairpin", 0x05},
		{`nat: "port-restricted-cone,hairpin=external"`, "Independent Mapping, Port Dependent Filter, preserves ports, will hairpin", 0x07},
		{`nat: "mapping=APDM,filtering=EIF,ports=sequential,hairpin=external"`, "Dependent Mapping, random port, will hairpin", 0x08},
		{`nat: "symmetric,hairpin=external"`, "Dependent Mapping, random port, no hairpin", 0x18},
		{`nat: "full-cone,hairpin=internal"`, "Independent Mapping, Independent Filter, preserves ports, no hairpin", 0x13},

		{"", "Open", 0x01},
		{"firewall: stateful", "Firewall", 0x0b},
		{"firewall: {inbound: replies, udp: []}", "Blocked or could not reach STUN server", 0x1c},
	} {
		t.Run("router {"+c.router+"}", func(t *testing.T) {
			t.Parallel()
			court.call(t, "stun")
			l := stand(t, behind(c.router))
			_, server := l.rendezvous("rendezvous")
			// It draws its ports from 16384 to 32767, which suits the NATs above.
			p := l.start("a", sim.Program{Path: "stun", Args: []string{server.String()}})
			code := p.finish()
			found := stunResult.FindStringSubmatch(p.out.String())
			if found == nil {
				t.Fatalf("%s: no verdict in what it says", p.name)
			}
			if want := fmt.Sprintf("%06x", c.value); found[1] != c.says || found[2] != want || code != c.value {
				t.Errorf("the client says %q, 0x%s, and exits with %d; want %q, 0x%s, and exit code %d", found[1], found[2], code, c.says, want, c.value)
			}
		})
	}
}
