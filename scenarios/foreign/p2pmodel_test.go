//go:build linux

package foreign_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"p2pmodel/sim"
	"p2pmodel/sim/witness"
)

// duo is two peers that talk to each other, with rendezvous and relay: four
// processes of our binary, about which the lab knows nothing.
type duo struct {
	*lab
	rendezvous, relay, a, b *program
}

// talk starts the four behind two NATs. Host b sends, and a echoes, until they
// are ended.
func talk(tb testing.TB, natA, natB string) *duo {
	tb.Helper()
	court.call(tb)
	l := stand(tb, `
lab:
  routers:
    nat-a: {nat: "`+natA+`"}
    nat-b: {nat: "`+natB+`"}
  hosts:
    a: {behind: nat-a}
    b: {behind: nat-b}
    rendezvous: {addresses: 2}
    relay: {}
  links:
    nat-a: {delay: 10ms}
    nat-b: {delay: 10ms}
`)
	d := &duo{lab: l}
	dir := tb.TempDir()
	var meeting, way netip.AddrPort
	d.rendezvous, meeting = l.rendezvous("rendezvous", "--key-file", filepath.Join(dir, "rendezvous.key"))
	d.relay, way = l.relay("relay")
	password := filepath.Join(dir, "password")
	if err := os.WriteFile(password, []byte(turnPassword+"\n"), 0o600); err != nil {
		tb.Fatal(err)
	}
	peer := func(host string, options ...string) (*program, string) {
		p := l.start(host, sim.Program{Path: p2pmodel, Args: append([]string{
			"peer", "--rendezvous", meeting.String(), "--relay", way.String(), "--username", turnUser, "--password-file", password,
			"--key-file", filepath.Join(dir, host+".key"), "--events", "json"}, options...)})
		return p, p.await(`"event":"ready","id":"([^"]+)"`, 1)[1]
	}
	var id string
	d.a, id = peer("a", "--echo")
	d.b, _ = peer("b", "--connect", id, "--send-interval", "20ms")
	return d
}

// settles waits until the sender's checks have settled on a path, as it says:
// that tells us when to look, and nothing else.
func (d *duo) settles(kind witness.Path) {
	d.tb.Helper()
	d.b.await(fmt.Sprintf(`"event":"settled".*"path":\{"kind":"%v"`, kind), 1)
}

// observes asks the witness which way the next payload takes: a whole window of
// it in each direction.
func (d *duo) observes(want witness.Path) {
	d.tb.Helper()
	since := d.Now()
	d.b.skip()
	for deadline := since.Add(patience); ; {
		// What is said drives the loop; what arrived is for the witness to say.
		d.b.await(`"event":"received"`, witness.PathWindow)
		list, arrived := arrivedSince(d.deliveries(), since)
		if arrived["a"] < witness.PathWindow || arrived["b"] < witness.PathWindow {
			if d.Now().After(deadline) {
				d.tb.Fatalf("within %v the witness saw %d datagrams arrive that a sent and %d of b", patience, arrived["a"], arrived["b"])
			}
			continue
		}
		if got := witness.ObservedPath(list, since, witness.PathWindow); got != want {
			d.tb.Errorf("the witness says that the path is %v, want %v: %v", got, want, witness.Tally(list, since, witness.PathWindow))
		}
		return
	}
}

// arrivedSince gives the deliveries that were sent after a time, and how many of
// each sender's arrived. Those sent after the last that arrived are left out:
// they may be on their way.
func arrivedSince(all []witness.Delivery, since time.Time) (list []witness.Delivery, arrived map[string]int) {
	arrived = map[string]int{}
	last := map[string]time.Time{}
	for _, x := range all {
		if x.Sent.After(since) && !x.Lost() {
			arrived[x.From]++
			last[x.From] = x.Sent
		}
	}
	for _, x := range all {
		if x.Sent.After(since) && !x.Sent.After(last[x.From]) {
			list = append(list, x)
		}
	}
	return list, arrived
}

func (d *duo) deliveries() []witness.Delivery {
	d.tb.Helper()
	list, err := witness.Deliveries(d.Packets(), d.scene(), "a", "b")
	if err != nil {
		d.tb.Fatal(err)
	}
	return list
}

// neverDirect makes sure that no payload has gone past the relay, although it
// was tried.
func (d *duo) neverDirect() {
	d.tb.Helper()
	if x, ever := witness.EverDirect(d.deliveries(), time.Time{}, time.Time{}); ever {
		d.tb.Errorf("payload went direct: %v", x)
	}
	for _, way := range [][2]string{{"a", "b"}, {"b", "a"}} {
		checks, err := witness.Checks(d.Packets(), d.scene(), way[0], way[1])
		if err != nil {
			d.tb.Fatal(err)
		}
		died := 0
		for _, c := range checks {
			if c.STUN && !c.Entered {
				died++
			}
		}
		if died == 0 {
			d.tb.Errorf("no check from %s to %s died on its way: nothing was tried", way[0], way[1])
		}
	}
}

// end ends all four as an operator would, and each has to end well.
func (d *duo) end() {
	d.tb.Helper()
	for _, p := range []*program{d.b, d.a, d.relay, d.rendezvous} {
		p.terminate()
	}
}

// restart kills a program with SIGKILL and starts it again. How long payload was
// interrupted is logged in the end.
func (d *duo) restart(p *program, ready string) {
	d.tb.Helper()
	began, old := d.Now(), p.PID()
	p.skip()
	d.b.skip()
	if err := p.Restart(d.tb.Context()); err != nil {
		d.tb.Fatalf("%s: restart: %v", p.name, err)
	}
	if p.PID() == old {
		d.tb.Fatalf("%s: has still process %d after the restart", p.name, old)
	}
	p.await(ready, 1)
	d.tb.Cleanup(func() {
		for _, g := range witness.Gaps(d.deliveries(), began, d.Now()) {
			d.tb.Logf("%s was killed: %v", p.host, g)
		}
	})
}

func TestPeersTalkDirectly(t *testing.T) {
	t.Parallel()
	d := talk(t, "full-cone", "full-cone")
	d.settles(witness.Direct)
	d.observes(witness.Direct)
	d.end()
}

func TestPeersTalkOverTheRelay(t *testing.T) {
	t.Parallel()
	d := talk(t, "symmetric,ports=random", "symmetric,ports=random")
	d.settles(witness.Relay)
	d.observes(witness.Relay)
	d.neverDirect()
	d.end()
}

// TestAPeerIsKilled: it comes back with its key and nothing else.
func TestAPeerIsKilled(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		nat  string
		path witness.Path
	}{{"port-restricted-cone", witness.Direct}, {"symmetric,ports=random", witness.Relay}} {
		t.Run(c.path.String(), func(t *testing.T) {
			t.Parallel()
			d := talk(t, c.nat, c.nat)
			d.settles(c.path)
			d.observes(c.path)
			d.restart(d.b, `"event":"ready"`)
			d.settles(c.path)
			d.observes(c.path)
			d.end()
		})
	}
}

// TestTheEchoIsKilled: the peer that was connected to comes back; the other one
// has to notice by itself.
func TestTheEchoIsKilled(t *testing.T) {
	t.Parallel()
	d := talk(t, "full-cone", "restricted-cone")
	d.settles(witness.Direct)
	d.observes(witness.Direct)
	d.restart(d.a, `"event":"ready"`)
	d.settles(witness.Direct)
	d.observes(witness.Direct)
	d.end()
}

// TestTheRelayIsKilled: all allocations are gone with it.
func TestTheRelayIsKilled(t *testing.T) {
	t.Parallel()
	d := talk(t, "symmetric,ports=random", "symmetric,ports=random")
	d.settles(witness.Relay)
	d.observes(witness.Relay)
	d.restart(d.relay, "relay listening on")
	d.b.await(`"event":"relay_ready"`, 1)
	d.observes(witness.Relay)
	d.neverDirect()
	d.end()
}

// TestTheRendezvousIsKilled: those that are introduced do not need it, and
// register again by themselves, so that a peer that is killed after it finds the
// other one.
func TestTheRendezvousIsKilled(t *testing.T) {
	t.Parallel()
	d := talk(t, "port-restricted-cone", "port-restricted-cone")
	d.settles(witness.Direct)
	d.restart(d.rendezvous, "rendezvous listening on")
	d.observes(witness.Direct)
	d.restart(d.b, `"event":"ready"`)
	d.settles(witness.Direct)
	d.observes(witness.Direct)
	d.end()
}

// TestBadFlags: what the command line has wrong is said on standard error, and
// the exit code is 2.
func TestBadFlags(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ args, says string }{
		{"", ""},
		{"nonsense", `"nonsense"`},
		{"--nonsense", "--nonsense"},
		{"rendezvous", "--listen IP:PORT is required"},
		{"rendezvous --listen nowhere", "--listen"},
		{"rendezvous --listen 198.18.0.1:3478 --alternate 198.18.0.1:3479", "alternate 198.18.0.1:3479"},
		{"relay --listen 198.18.0.1:3478", "--relay-address"},
		{"relay --listen 198.18.0.1:3478 --relay-address 198.18.0.1", "--credentials-file"},
		{"relay --listen 198.18.0.1:3478 --relay-address 198.18.0.1 --credentials-file /nonexistent", "/nonexistent"},
		{"peer", "--rendezvous IP:PORT is required"},
		{"peer --rendezvous 198.18.0.1:3478 --connect me", "--connect"},
		{"peer --rendezvous 198.18.0.1:3478 --events xml", "--events"},
		{"peer --rendezvous 198.18.0.1:3478 --relay 198.18.0.2:3478", "--password-file"},
	} {
		t.Run("p2pmodel "+c.args, func(t *testing.T) {
			t.Parallel()
			var errorText strings.Builder
			cmd := exec.CommandContext(t.Context(), p2pmodel, strings.Fields(c.args)...)
			cmd.Stderr = &errorText
			err := cmd.Run()
			if c.args == "" { // says what there is
				if err != nil || errorText.Len() > 0 {
					t.Errorf("%v, %q; want the help, and exit code 0", err, errorText.String())
				}
				return
			}
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(errorText.String(), c.says) {
				t.Errorf("%v, %q; want exit code 2 and %q", err, errorText.String(), c.says)
			}
		})
	}
}
