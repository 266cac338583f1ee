//go:build linux

package foreign_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"p2pmodel/sim"
	"p2pmodel/sim/witness"
)

// iceAgent is a program that stands in a peer's place as p2pmodel ice does.
type iceAgent string

// The agents.
const (
	ourICE  iceAgent = "p2pmodel"
	pionICE iceAgent = "pion/ice"
	aioICE  iceAgent = "aioice"
)

// python is Debian's, which has Debian's python3-aioice.
const python = "/usr/bin/python3"

// summon makes sure that the agent is there.
func (a iceAgent) summon(tb testing.TB) {
	tb.Helper()
	court.call(tb)
	switch a {
	case pionICE:
		if _, err := buildPion(); err != nil {
			leaveOut(tb, "pion-ice cannot be built: %v", err)
		}
	case aioICE:
		if out, err := exec.Command(python, "-c", "import aioice").CombinedOutput(); err != nil {
			court.miss(tb, "aioice", "%s has no aioice (%v: %.200s): apt-get install python3-aioice", python, err, out)
		}
	}
}

// command is what runs the agent.
func (a iceAgent) command(tb testing.TB) (path string, args []string) {
	tb.Helper()
	switch a {
	case pionICE:
		path, err := buildPion()
		if err != nil {
			tb.Fatal(err)
		}
		return path, []string{"peer"}
	case aioICE:
		script, err := filepath.Abs("aioice/peer.py")
		if err != nil {
			tb.Fatal(err)
		}
		return python, []string{script}
	}
	return p2pmodel, []string{"ice"}
}

// named is the agent with its version.
func (a iceAgent) named() string {
	switch a {
	case pionICE:
		return "pion/ice " + pionVersion()
	case aioICE:
		return "aioice " + aioVersion()
	}
	return "p2pmodel ice"
}

var (
	pionVersion = sync.OnceValue(func() string {
		out, _ := exec.Command("go", "-C", "pion-ice", "list", "-m", "-f", "{{.Version}}", "github.com/pion/ice/v4").Output()
		return strings.TrimSpace(string(out))
	})
	aioVersion = sync.OnceValue(func() string {
		out, _ := exec.Command(python, "-c", "import aioice; print(aioice.__version__)").Output()
		return strings.TrimSpace(string(out))
	})
)

// buildPion compiles pion-ice, a module of its own, beside our program.
var buildPion = sync.OnceValues(func() (string, error) {
	path := filepath.Join(filepath.Dir(p2pmodel), "pion-ice")
	out, err := exec.Command("go", "-C", "pion-ice", "build", "-o", path, ".").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return path, nil
})

// encounter is two agents behind two NATs. Flags are further ones of each.
type encounter struct {
	a, b           iceAgent
	natA, natB     string // "": a public host
	flagsA, flagsB []string
	coturn         bool // is STUN and TURN server, in place of ours
}

func (e encounter) String() string {
	return fmt.Sprintf("%s %v behind %q, %s %v behind %q, coturn %v", e.a, e.flagsA, e.natA, e.b, e.flagsB, e.natB, e.coturn)
}

// meeting is an encounter that goes on.
type meeting struct {
	*lab
	a, b *program
}

// meet starts the two, with their servers.
func (e encounter) meet(tb testing.TB) *meeting {
	tb.Helper()
	e.a.summon(tb)
	e.b.summon(tb)
	if e.coturn {
		court.call(tb, "turnserver")
	}
	l := stand(tb, e.yaml())
	signal := netip.AddrPortFrom(l.address("signal", 0), 8080)
	l.start("signal", sim.Program{Path: p2pmodel, Args: []string{"signal", "--listen", signal.String()}}).await(`(?m)^signal listening on `, 1)
	var way, meet netip.AddrPort
	if e.coturn {
		way = l.coturn("relay")
		meet = way
	} else {
		_, way = l.relay("relay")
		_, meet = l.rendezvous("rendezvous")
	}
	launch := func(host, other string, agent iceAgent, dials string, flags []string) *program {
		path, args := agent.command(tb)
		return l.start(host, sim.Program{Path: path, Args: append(append(args, "--signal", "http://"+signal.String()), flags...), Env: append(os.Environ(),
			"LAB_NAME="+host, "LAB_PEER="+other, "LAB_DIALS="+dials, "LAB_RENDEZVOUS="+meet.String(), "LAB_RELAY="+way.String(),
			"LAB_RELAY_USER="+turnUser, "LAB_RELAY_PASSWORD="+turnPassword)})
	}
	return &meeting{l, launch("a", "b", e.a, "1", e.flagsA), launch("b", "a", e.b, "0", e.flagsB)}
}

func (e encounter) yaml() string {
	routers, hosts := "", ""
	for _, side := range []struct{ name, nat string }{{"a", e.natA}, {"b", e.natB}} {
		if side.nat == "" {
			hosts += "    " + side.name + ": {}\n"
			continue
		}
		routers += fmt.Sprintf("    nat-%s: {nat: %q}\n", side.name, side.nat)
		hosts += fmt.Sprintf("    %s: {behind: nat-%s}\n", side.name, side.name)
	}
	yaml := "lab:\n"
	if routers != "" {
		yaml += "  routers:\n" + routers + "  links:\n"
		for _, side := range []struct{ name, nat string }{{"a", e.natA}, {"b", e.natB}} {
			if side.nat != "" {
				yaml += "    nat-" + side.name + ": {delay: 10ms}\n"
			}
		}
	}
	return yaml + "  hosts:\n" + hosts + "    rendezvous: {addresses: 2}\n    relay: {}\n    signal: {}\n"
}

// coturn starts coturn's server with long-term credentials, and gives its address.
func (l *lab) coturn(host string) netip.AddrPort {
	l.tb.Helper()
	dir, ip := l.tb.TempDir(), l.address(host, 0).String()
	p := l.start(host, sim.Program{Path: "turnserver", Dir: dir, Args: []string{
		"-n", "-v", "--no-tls", "--no-dtls", "--no-tcp", "--no-cli", "--listening-ip", ip, "--relay-ip", ip, "--listening-port", "3478",
		"--lt-cred-mech", "--realm", "lab", "--user", turnUser + ":" + turnPassword,
		"--userdb", dir + "/turndb", "--pidfile", dir + "/pid", "--log-file", "stdout", "--simple-log",
	}})
	p.await(`IPv4\. UDP listener opened on: `, 1)
	return netip.AddrPortFrom(l.address(host, 0), 3478)
}

// settle waits until both say that they have a path: that tells us when to look, and
// nothing else. "none" is the only path that begins with an n.
func (m *meeting) settle() {
	m.tb.Helper()
	for _, p := range []*program{m.a, m.b} {
		p.await(`"event":"settled".*"path":"[^n]`, 1)
	}
}

// observed are the ways that the witness sees the next payload take: a whole window of
// it in each direction.
func (m *meeting) observed() witness.Counts {
	m.tb.Helper()
	since := m.Now()
	for deadline := since.Add(patience); ; {
		all, err := witness.Deliveries(m.Packets(), m.scene(), "a", "b")
		if err != nil {
			m.tb.Fatal(err)
		}
		list, arrived := arrivedSince(all, since)
		if arrived["a"] >= witness.PathWindow && arrived["b"] >= witness.PathWindow {
			counts := witness.Tally(list, since, witness.PathWindow)
			m.tb.Logf("path %v: %v", counts.Path(), counts)
			return counts
		}
		if m.Now().After(deadline) {
			m.tb.Fatalf("within %v the witness saw %d datagrams arrive that a sent and %d of b", patience, arrived["a"], arrived["b"])
		}
		select {
		case <-time.After(witness.PathWindow * 5 * time.Millisecond):
		case <-m.tb.Context().Done():
			m.tb.Fatal(context.Cause(m.tb.Context()))
		}
	}
}
