//go:build linux

package foreign_test

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"p2pmodel/sim"
)

// The verdicts of turnutils_natdiscovery, word for word.
const (
	saysEIM  = "NAT with Endpoint Independent Mapping!"
	saysADM  = "NAT with Address Dependent Mapping!"
	saysAPDM = "NAT with Address and Port Dependent Mapping!"

	saysEIF  = "NAT with Endpoint Independent Filtering!"
	saysADF  = "NAT with Address Dependent Filtering!"
	saysAPDF = "NAT with Address and Port Dependent Filtering!"

	saysNoNAT = "No NAT! (Endpoint Independent Mapping)"
)

// natdiscovery is what the tool printed.
type natdiscovery struct {
	verdicts  []string
	responses []response
	timeouts  int // answers that it waited for and did not get
	requests  int // requests that reached it: its own, by hairpin
}

// response is one answer to the tool, as it printed it.
type response struct {
	mapped                          string // MAPPED-ADDRESS beside XOR-MAPPED-ADDRESS
	origin, other, reflexive, local netip.AddrPort
}

var (
	natdiscoveryAddress = regexp.MustCompile(`^\d+: : IPv4\. (Response origin: |Other addr: |UDP reflexive addr|Local addr: ): (\S+)$`)
	natdiscoveryCount   = regexp.MustCompile(`^RFC 5780 response (\d+)$`)
	natdiscoverySection = regexp.MustCompile(`^-= (Mapping|Filtering|Hairpinning|Mapping Lifetime|Collision) Behavior Discovery =-$`)
)

// parseNatdiscovery takes each line for what it is; a line that it does not know
// is an error, for it may be a complaint.
func parseNatdiscovery(text string) (d natdiscovery, err error) {
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case line == "", strings.Trim(line, "=") == "", natdiscoverySection.MatchString(line):
		case slices.Contains([]string{saysEIM, saysADM, saysAPDM, saysEIF, saysADF, saysAPDF, saysNoNAT}, line):
			d.verdicts = append(d.verdicts, line)
		case line == "STUN receive timeout..":
			d.timeouts++
		case line == "Received a request (maybe a successful hairpinning)":
			d.requests++
		case natdiscoveryCount.MatchString(line):
			n, _ := strconv.Atoi(natdiscoveryCount.FindStringSubmatch(line)[1])
			d.responses = append(d.responses, response{})
			if n != len(d.responses) {
				return d, fmt.Errorf("%q is the %d. response", line, len(d.responses))
			}
		case len(d.responses) == 0:
			return d, fmt.Errorf("%q before any response", line)
		default:
			if err := d.responses[len(d.responses)-1].set(line); err != nil {
				return d, err
			}
		}
	}
	return d, nil
}

// set takes a line about a response.
func (r *response) set(line string) error {
	if line == "No ALG: Mapped == XOR-Mapped" {
		r.mapped = line
		return nil
	}
	found := natdiscoveryAddress.FindStringSubmatch(line)
	if found == nil {
		return fmt.Errorf("unknown line %q", line)
	}
	addr, err := netip.ParseAddrPort(found[2])
	if err != nil {
		return fmt.Errorf("%q: %w", line, err)
	}
	*map[byte]*netip.AddrPort{'R': &r.origin, 'O': &r.other, 'U': &r.reflexive, 'L': &r.local}[found[1][0]] = addr
	return nil
}

// natdiscovery runs the tool on a host of the lab.
func (l *lab) natdiscovery(host string, server netip.AddrPort, options ...string) natdiscovery {
	l.tb.Helper()
	args := append(options, "-L", l.address(host, 0).String(), "-p", strconv.Itoa(int(server.Port())), server.Addr().String())
	p := l.start(host, sim.Program{Path: "turnutils_natdiscovery", Args: args})
	if code := p.finish(); code != 0 {
		l.tb.Fatalf("%s: exit code %d", p.name, code)
	}
	d, err := parseNatdiscovery(p.out.String())
	if err != nil {
		l.tb.Fatalf("%s: %v", p.name, err)
	}
	for i, r := range d.responses {
		if r.mapped == "" {
			l.tb.Errorf("%s: response %d has no MAPPED-ADDRESS (RFC 5780 section 6.1)", p.name, i+1)
		}
	}
	return d
}

// behind is a lab of a host behind one router and the rendezvous.
func behind(router string) string {
	return `
lab:
  routers:
    router: {` + router + `}
  hosts:
    a: {behind: router}
    rendezvous: {addresses: 2}
`
}

// TestNatdiscovery has coturn's tool classify all nine pairs of mapping and
// filtering, and routers that do not translate.
//
// It cannot tell ADM from APDM by a server that keeps to RFC 5780. It finds the
// third place to ask in the OTHER-ADDRESS of its second answer, where the RFC has
// the one of the first (section 4.3). The second comes from alternate address
// and primary port, and what differs from both (section 7.4) is the primary
// address with the alternate port: the tool compares mappings towards two
// addresses where it means to compare two ports. coturn's server names its other
// port in that answer, against the RFC, so the tool is right about its own
// server only: TestNatdiscoveryByItsOwnServer.
func TestNatdiscovery(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		router             string
		mapping, filtering string
		timeouts           int // filtering: an answer that must not come is waited for
	}{
		{"nat: {mapping: EIM, filtering: EIF}", saysEIM, saysEIF, 0},
		{"nat: {mapping: EIM, filtering: ADF}", saysEIM, saysADF, 1},
		{"nat: {mapping: EIM, filtering: APDF}", saysEIM, saysAPDF, 2},
		{"nat: {mapping: ADM, filtering: EIF}", saysAPDM, saysEIF, 0},
		{"nat: {mapping: ADM, filtering: ADF}", saysAPDM, saysADF, 1},
		{"nat: {mapping: ADM, filtering: APDF}", saysAPDM, saysAPDF, 2},
		{"nat: {mapping: APDM, filtering: EIF}", saysAPDM, saysEIF, 0},
		{"nat: {mapping: APDM, filtering: ADF}", saysAPDM, saysADF, 1},
		{"nat: {mapping: APDM, filtering: APDF}", saysAPDM, saysAPDF, 2},
		{"nat: full-cone", saysEIM, saysEIF, 0},
		{"nat: restricted-cone", saysEIM, saysADF, 1},
		{"nat: port-restricted-cone", saysEIM, saysAPDF, 2},
		{"nat: symmetric", saysAPDM, saysAPDF, 2},
		{"nat: linux", saysEIM, saysAPDF, 2},
		{`nat: "symmetric,ports=random"`, saysAPDM, saysAPDF, 2},
		{`nat: "mapping=APDM,filtering=EIF,ports=random"`, saysAPDM, saysEIF, 0},
	} {
		t.Run(c.router, func(t *testing.T) {
			t.Parallel()
			court.call(t, "turnutils_natdiscovery")
			l := stand(t, behind(c.router))
			_, server := l.rendezvous("rendezvous")
			d := l.natdiscovery("a", server, "-m", "-f")
			if want := []string{c.mapping, c.filtering}; !slices.Equal(d.verdicts, want) || d.timeouts != c.timeouts {
				t.Errorf("the tool says %q after %d timeouts; want %q after %d", d.verdicts, d.timeouts, want, c.timeouts)
			}
			for i, r := range d.responses {
				if r.reflexive.Addr() != l.external("router") || r.local.Addr() != l.address("a", 0) {
					t.Errorf("response %d: %v seen as %v; the router's address is %v", i+1, r.local, r.reflexive, l.external("router"))
				}
			}
		})
	}
}

// TestNatdiscoveryWithoutNAT is the same behind routers that only forward.
func TestNatdiscoveryWithoutNAT(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		router, filtering string
		timeouts          int
	}{
		{"", saysEIF, 0},
		{"firewall: stateful", saysAPDF, 2},
	} {
		t.Run("router {"+c.router+"}", func(t *testing.T) {
			t.Parallel()
			court.call(t, "turnutils_natdiscovery")
			l := stand(t, behind(c.router))
			_, server := l.rendezvous("rendezvous")
			d := l.natdiscovery("a", server, "-m", "-f")
			// It says what it found of the address, and then what it says of NATs.
			if want := []string{saysNoNAT, saysEIM, saysNoNAT, c.filtering}; !slices.Equal(d.verdicts, want) || d.timeouts != c.timeouts {
				t.Errorf("the tool says %q after %d timeouts; want %q after %d", d.verdicts, d.timeouts, want, c.timeouts)
			}
		})
	}
}

// TestNatdiscoveryByItsOwnServer has the tool judge our NATs by coturn's server:
// there it tells ADM from APDM, which by ours it cannot (see TestNatdiscovery).
func TestNatdiscoveryByItsOwnServer(t *testing.T) {
	t.Parallel()
	for mapping, want := range map[string]string{"EIM": saysEIM, "ADM": saysADM, "APDM": saysAPDM} {
		t.Run(mapping, func(t *testing.T) {
			t.Parallel()
			court.call(t, "turnutils_natdiscovery", "turnserver")
			l := stand(t, behind("nat: {mapping: "+mapping+", filtering: EIF}"))
			server := l.turnserver("rendezvous")
			if d := l.natdiscovery("a", server, "-m"); !slices.Equal(d.verdicts, []string{want}) {
				t.Errorf("the tool says %q, want %q", d.verdicts, want)
			}
		})
	}
}

// turnserver starts coturn's server for discovery on a host with two addresses.
func (l *lab) turnserver(host string) netip.AddrPort {
	l.tb.Helper()
	dir := l.tb.TempDir()
	p := l.start(host, sim.Program{Path: "turnserver", Dir: dir, Args: []string{
		"-n", "-v", "--no-tls", "--no-dtls", "--no-tcp", "--no-auth", "--no-cli",
		"--listening-ip", l.address(host, 0).String(), "--listening-ip", l.address(host, 1).String(),
		"--listening-port", "3478", "--alt-listening-port", "3479",
		"--userdb", dir + "/turndb", "--pidfile", dir + "/pid", "--log-file", "stdout", "--simple-log",
	}})
	p.await(`IPv4\. UDP listener opened on: `, 4)
	return netip.AddrPortFrom(l.address(host, 0), 3478)
}

// TestNatdiscoveryOfFragments has requests and answers padded to more than a
// link carries: NATs that do not put fragments together fail here.
func TestNatdiscoveryOfFragments(t *testing.T) {
	t.Parallel()
	for nat, want := range map[string][]string{
		"full-cone": {saysEIM, saysEIF},
		"symmetric": {saysAPDM, saysAPDF},
	} {
		t.Run(nat, func(t *testing.T) {
			t.Parallel()
			court.call(t, "turnutils_natdiscovery")
			l := stand(t, behind("nat: "+nat))
			_, server := l.rendezvous("rendezvous")
			if d := l.natdiscovery("a", server, "-m", "-f", "-P"); !slices.Equal(d.verdicts, want) {
				t.Errorf("the tool says %q, want %q", d.verdicts, want)
			}
		})
	}
}

// TestNatdiscoveryHairpin has the tool send to its own external address, from a
// second socket: the mapping must let somebody in whom it never sent to, so
// only EIF can show a hairpin. Internal hairpins cannot be seen from one host:
// the packet has the host's own address as source, and Linux drops such.
func TestNatdiscoveryHairpin(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		nat      string
		requests int
	}{
		{"mapping=EIM,filtering=EIF,hairpin=external", 1},
		{"mapping=APDM,filtering=EIF,hairpin=external", 1},
		{"mapping=EIM,filtering=ADF,hairpin=external", 0},
		{"mapping=EIM,filtering=EIF,hairpin=internal", 0},
		{"mapping=EIM,filtering=EIF,hairpin=none", 0},
	} {
		t.Run(c.nat, func(t *testing.T) {
			t.Parallel()
			court.call(t, "turnutils_natdiscovery")
			l := stand(t, behind(fmt.Sprintf("nat: %q", c.nat)))
			_, server := l.rendezvous("rendezvous")
			d := l.natdiscovery("a", server, "-H")
			// Without a hairpin it waits at both sockets.
			if want := 2 * (1 - c.requests); len(d.responses) != 1 || d.requests != c.requests || d.timeouts != want {
				t.Errorf("%d responses, %d requests by hairpin, %d timeouts; want 1, %d, %d", len(d.responses), d.requests, d.timeouts, c.requests, want)
			}
		})
	}
}

// TestNatdiscoveryLifetime has the tool rest, and then ask from a second socket
// for an answer to the first one's mapping (RESPONSE-PORT): it comes if the
// mapping lives.
func TestNatdiscoveryLifetime(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		rest  string // seconds
		alive bool
	}{{"1", true}, {"4", false}} {
		t.Run("3s after "+c.rest+"s", func(t *testing.T) {
			t.Parallel()
			court.call(t, "turnutils_natdiscovery")
			l := stand(t, behind(`nat: "port-restricted,timeout=3s"`))
			_, server := l.rendezvous("rendezvous")
			d := l.natdiscovery("a", server, "-t", "-T", c.rest)
			want := natdiscovery{responses: make([]response, 2)}
			if !c.alive {
				want = natdiscovery{responses: make([]response, 1), timeouts: 1}
			}
			if len(d.responses) != len(want.responses) || d.timeouts != want.timeouts {
				t.Errorf("%d responses and %d timeouts, want %d and %d", len(d.responses), d.timeouts, len(want.responses), want.timeouts)
			}
		})
	}
}

// TestNatdiscoveryCollision has two addresses behind one NAT use one port: a NAT
// that preserves ports can do so for the first only, and both must keep apart.
func TestNatdiscoveryCollision(t *testing.T) {
	t.Parallel()
	court.call(t, "turnutils_natdiscovery")
	l := stand(t, `
lab:
  routers:
    router: {nat: port-restricted-cone}
  hosts:
    a: {behind: router, addresses: 2}
    rendezvous: {addresses: 2}
`)
	_, server := l.rendezvous("rendezvous")
	d := l.natdiscovery("a", server, "-c", "-A", l.address("a", 1).String())
	if len(d.responses) != 2 || d.timeouts > 0 {
		t.Fatalf("%d responses, %d timeouts; want 2 and none", len(d.responses), d.timeouts)
	}
	first, second := d.responses[0], d.responses[1]
	if first.local.Port() != second.local.Port() || first.local.Addr() == second.local.Addr() {
		t.Errorf("the tool asked from %v and %v: no collision", first.local, second.local)
	}
	if first.reflexive.Port() != first.local.Port() || second.reflexive == first.reflexive {
		t.Errorf("%v is seen as %v, and %v as %v: want the port preserved once, then another", first.local, first.reflexive, second.local, second.reflexive)
	}
}
