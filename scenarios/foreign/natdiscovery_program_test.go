//go:build linux

package foreign_test

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

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

// natdiscovery is what the tool found, by the names that it gives to what it
// looks for: Mapping, Filtering, Hairpinning, Mapping Lifetime, Collision.
type natdiscovery map[string]*discovery

// discovery is what the tool printed about one thing.
type discovery struct {
	verdicts  []string
	responses []response
	timeouts  int // answers that it waited for and did not get
	requests  int // requests that reached it: its own, by hairpin
}

func (d *discovery) String() string {
	return fmt.Sprintf("%q, %d responses, %d timeouts, %d requests", d.verdicts, len(d.responses), d.timeouts, d.requests)
}

// concludes reports whether the tool gave these verdicts after so many timeouts.
func (d *discovery) concludes(timeouts int, verdicts ...string) bool {
	return slices.Equal(d.verdicts, verdicts) && d.timeouts == timeouts
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
func parseNatdiscovery(text string) (natdiscovery, error) {
	found := natdiscovery{}
	var d *discovery
	count := 0
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if section := natdiscoverySection.FindStringSubmatch(line); section != nil {
			d = &discovery{}
			found[section[1]] = d
			continue
		}
		if line == "" || strings.Trim(line, "=") == "" {
			continue
		}
		if d == nil {
			return found, fmt.Errorf("%q before it says what it looks for", line)
		}
		if n := natdiscoveryCount.FindStringSubmatch(line); n != nil {
			if count++; n[1] != strconv.Itoa(count) {
				return found, fmt.Errorf("%q is the %d. response", line, count)
			}
			d.responses = append(d.responses, response{})
			continue
		}
		if err := d.read(line); err != nil {
			return found, err
		}
	}
	return found, nil
}

// read takes a line.
func (d *discovery) read(line string) error {
	switch {
	case slices.Contains([]string{saysEIM, saysADM, saysAPDM, saysEIF, saysADF, saysAPDF, saysNoNAT}, line):
		d.verdicts = append(d.verdicts, line)
	case line == "STUN receive timeout..":
		d.timeouts++
	case line == "Received a request (maybe a successful hairpinning)":
		d.requests++
	case len(d.responses) == 0:
		return fmt.Errorf("%q before any response", line)
	default:
		return d.responses[len(d.responses)-1].read(line)
	}
	return nil
}

// read takes a line about a response.
func (r *response) read(line string) error {
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

// launchNatdiscovery starts the tool on a host of the lab.
func (l *lab) launchNatdiscovery(host string, server netip.AddrPort, options ...string) *program {
	l.tb.Helper()
	return l.launch(host, sim.Program{Path: "turnutils_natdiscovery", Args: append(options,
		"-L", l.address(host, 0).String(), "-p", strconv.Itoa(int(server.Port())), server.Addr().String())})
}

// discovered waits for the tool to end and gives what it found.
func (p *program) discovered() natdiscovery {
	p.tb.Helper()
	if code := p.finish(); code != 0 {
		p.tb.Fatalf("%s: exit code %d", p.name, code)
	}
	found, err := parseNatdiscovery(p.out.String())
	if err != nil {
		p.tb.Fatalf("%s: %v", p.name, err)
	}
	for section, d := range found {
		for i, r := range d.responses {
			if r.mapped == "" {
				p.tb.Errorf("%s: response %d about %s has no MAPPED-ADDRESS (RFC 5780 section 6.1)", p.name, i+1, section)
			}
		}
	}
	return found
}

// about gives what was found of one thing, which the tool must have looked for.
func (p *program) about(found natdiscovery, section string) *discovery {
	p.tb.Helper()
	d := found[section]
	if d == nil {
		p.tb.Fatalf("%s: says nothing of %s", p.name, section)
	}
	return d
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
