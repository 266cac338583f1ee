//go:build linux

package foreign_test

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"p2pmodel/scenarios/interop"
	"p2pmodel/sim"
	"p2pmodel/sim/witness"
)

const turnUser, turnPassword = "alice", "secret"

// relay starts ours on a host, with a user and a shared secret, and gives its
// address.
func (l *lab) relay(host string, args ...string) (*program, netip.AddrPort) {
	l.tb.Helper()
	dir := l.tb.TempDir()
	users, secret := filepath.Join(dir, "users"), filepath.Join(dir, "secret")
	for name, content := range map[string]string{users: turnUser + ":" + turnPassword + "\n", secret: "north\n"} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			l.tb.Fatal(err)
		}
	}
	addr := netip.AddrPortFrom(l.address(host, 0), 3478)
	p := l.start(host, sim.Program{Path: p2pmodel, Args: append([]string{
		"relay", "--listen", addr.String(), "--relay-address", addr.Addr().String(), "--verbose",
		"--credentials-file", users, "--secret-file", secret}, args...)})
	p.await(`(?m)^relay listening on `+regexp.QuoteMeta(addr.String())+` `, 1)
	return p, addr
}

// turnLab is a client behind a NAT, a relay, and a peer that echoes.
func turnLab(nat string) string {
	return `
lab:
  routers:
    router: {nat: ` + nat + `}
  hosts:
    a: {behind: router}
    relay: {}
    peer: {}
`
}

// uclient starts turnutils_uclient on host a. Times among the options are real.
func (l *lab) uclient(relay netip.AddrPort, options ...string) *program {
	l.tb.Helper()
	return l.start("a", sim.Program{Path: "turnutils_uclient", Args: append(options,
		"-L", l.address("a", 0).String(), "-p", strconv.Itoa(int(relay.Port())), relay.Addr().String())})
}

// The totals that uclient prints at its end.
var (
	uclientMessages = regexp.MustCompile(`(?m): start_mclient: tot_send_msgs=(\d+), tot_recv_msgs=(\d+)$`)
	uclientBytes    = regexp.MustCompile(`(?m): start_mclient: tot_send_bytes ~ (\d+), tot_recv_bytes ~ (\d+)$`)
	uclientLost     = regexp.MustCompile(`(?m): Total lost packets (\d+) \([\d.]+%\), total send dropped (\d+) \([\d.]+%\)$`)
)

// totals gives the two numbers of a line that the program printed.
func (p *program) totals(line *regexp.Regexp) [2]int {
	p.tb.Helper()
	found := line.FindStringSubmatch(p.out.String())
	if found == nil {
		p.tb.Fatalf("%s: does not print %s", p.name, line)
	}
	a, _ := strconv.Atoi(found[1])
	b, _ := strconv.Atoi(found[2])
	return [2]int{a, b}
}

// TestTurnClient moves data of coturn's clients through our relay, from behind
// NATs. With -y the clients are each other's peers, relay to relay; with -e the
// peer is coturn's echo on another host. -c leaves RTCP connections out, which
// ask for an even port and reserve the next one; -s sends indications where
// otherwise channels are bound, in all of RFC 5766's range.
func TestTurnClient(t *testing.T) {
	t.Parallel()
	user := []string{"-u", turnUser, "-w", turnPassword}
	for _, c := range []struct {
		name    string
		options []string
		carrier string // what has to carry the data between client and relay
	}{
		{"-y", append([]string{"-y"}, user...), "ChannelData"},
		{"-y -c", append([]string{"-y", "-c"}, user...), "ChannelData"},
		{"-y -c -s", append([]string{"-y", "-c", "-s"}, user...), "TURN Send indication"},
		{"-y -c -G, with requests again and again", append([]string{"-y", "-c", "-G"}, user...), "ChannelData"},
		{"-y -c -D, with padded channel data", append([]string{"-y", "-c", "-D"}, user...), "ChannelData"},
		{"-y -c -W, with time-limited credentials", []string{"-y", "-c", "-W", "north", "-u", "carol"}, "ChannelData"},
		{"-y -c -g, with DONT-FRAGMENT", append([]string{"-y", "-c", "-g"}, user...), "ChannelData"},
		{"-e, to a peer", append([]string{"-e"}, user...), "ChannelData"},
		{"-e -c -s, to a peer", append([]string{"-c", "-s", "-e"}, user...), "TURN Send indication"},
	} {
		for _, nat := range []string{"port-restricted-cone", "symmetric"} {
			t.Run(c.name+" behind "+nat, func(t *testing.T) {
				interop.Try(t, uclientRow("UDP, behind "+nat, c.name, "100 datagrams, none lost"))
				t.Parallel()
				court.call(t, "turnutils_uclient", "turnutils_peer")
				const clients, messages, size = 4, 25, 170
				l := stand(t, turnLab(nat))
				server, relay := l.relay("relay")
				options, echo := l.withPeer(c.options)
				p := l.uclient(relay, append(options, "-m", strconv.Itoa(clients), "-n", strconv.Itoa(messages), "-l", strconv.Itoa(size))...)
				if code := p.finish(); code != 0 {
					t.Errorf("%s: exit code %d", p.name, code)
				}
				const all = clients * messages
				if got := p.totals(uclientMessages); got != [2]int{all, all} {
					t.Errorf("%d messages sent and %d received, want %d each", got[0], got[1], all)
				}
				if got := p.totals(uclientBytes); got != [2]int{all * size, all * size} {
					t.Errorf("%d bytes sent and %d received, want %d each", got[0], got[1], all*size)
				}
				if got := p.totals(uclientLost); got != [2]int{0, 0} {
					t.Errorf("%d messages lost and %d not sent, want none", got[0], got[1])
				}
				if n := l.carried(c.carrier); n < all {
					t.Errorf("the witness saw %d of %s leave the client, want %d at least", n, c.carrier, all)
				}
				if echo {
					l.relayed("a", "peer", all)
				}
				server.terminate()
			})
		}
	}
}

// uclientRow is a run of uclient as a row of the table of interoperability.
func uclientRow(over, tried, expected string) interop.Row {
	return interop.Row{Client: "turnutils_uclient " + coturnVersion(), Server: "p2pmodel relay", Over: over, Tried: tried, Expected: expected}
}

// coturnVersion is like "4.6.1"; uclient, which does not tell, comes with the server.
var coturnVersion = sync.OnceValue(func() string {
	out, _ := exec.Command("turnserver", "--version").CombinedOutput()
	return regexp.MustCompile(`\d+\.\d+\.\d+`).FindString(string(out))
})

// withPeer gives -e its address, and starts the peer there.
func (l *lab) withPeer(options []string) (full []string, echo bool) {
	l.tb.Helper()
	for _, o := range options {
		full = append(full, o)
		if o == "-e" {
			peer := l.address("peer", 0).String()
			full, echo = append(full, peer), true
			l.start("peer", sim.Program{Path: "turnutils_peer", Args: []string{"-L", peer}}).bound(3480)
		}
	}
	return full, echo
}

// carried counts the packets of a kind that left the client's host.
func (l *lab) carried(kind string) (n int) {
	for _, p := range l.Packets() {
		if p.Point.Node == "a" && p.Direction == witness.Out && strings.HasPrefix(witness.Summary(p), kind) {
			n++
		}
	}
	return n
}

// relayed makes sure that all datagrams between two hosts went over the relay,
// and arrived: at least n in each direction.
func (l *lab) relayed(a, b string, n int) {
	l.tb.Helper()
	list, err := witness.Deliveries(l.Packets(), l.scene(), a, b)
	if err != nil {
		l.tb.Fatal(err)
	}
	for _, c := range witness.Tally(list, l.Now().Add(-patience), 0) {
		if c.Relay < n || c.Direct > 0 || c.Lost > 0 {
			l.tb.Errorf("%s → %s: %d datagrams over the relay, %d direct, %d lost; want %d over the relay", c.From, c.To, c.Relay, c.Direct, c.Lost, n)
		}
	}
	if path := witness.ObservedPath(list, l.Now().Add(-patience), witness.PathWindow); path != witness.Relay {
		l.tb.Errorf("the witness says that the path of %s and %s was %v", a, b, path)
	}
}

// scene is what the witness has to know of the lab.
func (l *lab) scene() (s witness.Scene) {
	for _, h := range l.Lab().Hosts {
		s.Hosts = append(s.Hosts, h.Name)
		addresses := l.Plan().Addresses(h.Name, h.ActiveUplink())
		switch h.Name {
		case "relay":
			s.Relay = addresses
		case "rendezvous":
			s.Rendezvous = addresses
		}
	}
	return s
}

// TestTurnClientIsRefused has uclient ask for what our relay does not give: it
// has to get nothing, and the right error.
func TestTurnClientIsRefused(t *testing.T) {
	t.Parallel()
	// It does not print a 401: that one is how it learns realm and nonce.
	const gaveUp = "ERROR: Cannot complete Allocation"
	for _, c := range []struct {
		name    string
		options []string
		says    string
	}{
		{"a wrong password", []string{"-y", "-u", turnUser, "-w", "wrong"}, gaveUp},
		{"an unknown user", []string{"-y", "-u", "mallory", "-w", turnPassword}, gaveUp},
		{"a wrong shared secret", []string{"-y", "-W", "south", "-u", "carol"}, gaveUp},
		{"an IPv6 address, which the relay has not", []string{"-y", "-x", "-u", turnUser, "-w", turnPassword}, "error 440 (Address Family not Supported)"},
		{"a private peer", []string{"-e", "10.0.0.1", "-u", turnUser, "-w", turnPassword}, "error 403 (Forbidden)"},
		{"the relay's loopback", []string{"-e", "127.0.0.1", "-u", turnUser, "-w", turnPassword}, "error 403 (Forbidden)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			why := "401"
			if code := strings.TrimPrefix(c.says, "error "); code != c.says {
				why = code[:3]
			}
			interop.Try(t, uclientRow("UDP, behind port-restricted-cone", c.name, "refused: "+why))
			t.Parallel()
			court.call(t, "turnutils_uclient")
			l := stand(t, turnLab("port-restricted-cone"))
			_, relay := l.relay("relay")
			p := l.uclient(relay, append(c.options, "-c", "-m", "2", "-n", "1")...)
			if code := p.finish(); code == 0 || !strings.Contains(p.out.String(), c.says) {
				t.Errorf("%s: exit code %d, does not say %q", p.name, code, c.says)
			}
		})
	}
}

// TestTurnClientWithoutPermission has uclient send to a peer that it has not
// asked permission for: nothing may get there.
func TestTurnClientWithoutPermission(t *testing.T) {
	interop.Try(t, uclientRow("UDP, behind port-restricted-cone", "data without a permission (-I)", "nothing arrives"))
	t.Parallel()
	court.call(t, "turnutils_uclient", "turnutils_peer")
	l := stand(t, turnLab("port-restricted-cone"))
	_, relay := l.relay("relay")
	options, _ := l.withPeer([]string{"-I", "-s", "-c", "-u", turnUser, "-w", turnPassword, "-e"})
	p := l.uclient(relay, append(options, "-m", "1", "-n", "5", "-z", "1")...)
	p.finish()
	if got := p.totals(uclientMessages); got != [2]int{5, 0} {
		t.Errorf("%d messages sent and %d received, want 5 and none", got[0], got[1])
	}
	for _, k := range l.Packets() {
		if k.Point.Node == "peer" {
			t.Errorf("the peer's host saw %s: %v → %v", witness.Summary(k), k.Src, k.Dst)
		}
	}
}
