//go:build linux

package kernel_test

import (
	"bytes"
	"net/netip"
	"os"
	"strings"
	"testing"

	"p2pmodel/sim"
)

func TestProgramsRunAsAnotherUser(t *testing.T) {
	n := stand(t, lone)
	for _, c := range []struct{ user, ids, home string }{
		{"nobody", "65534 65534 65534 nobody", "/nonexistent"},
		{"65534", "65534 65534 65534 nobody", "/nonexistent"},
		{"54321", "54321 54321 54321 54321", "/"}, // of nobody's
		{"", "0 0", os.Getenv("HOME")},
	} {
		var out bytes.Buffer
		p, err := host(t, n, "a").Start(t.Context(), sim.Program{
			Path: "sh", Args: []string{"-c", "echo $(id -u) $(id -g) $([ -z \"$0\" ] || echo $(id -G) $USER); echo $HOME; cat /proc/net/fib_trie", c.user},
			User: c.user, Stdout: &out,
		})
		if err != nil {
			t.Fatalf("user %q: %v", c.user, err)
		}
		if err := p.Wait(); err != nil {
			t.Errorf("user %q: %v", c.user, err)
		}
		lines := strings.Split(out.String(), "\n")
		if lines[0] != c.ids || lines[1] != c.home {
			t.Errorf("user %q: it is %q at %q, want %q at %q", c.user, lines[0], lines[1], c.ids, c.home)
		}
		if !strings.Contains(out.String(), addressOf(n, "a").String()) {
			t.Errorf("user %q does not see the host's network", c.user)
		}
	}
	if _, err := host(t, n, "a").Start(t.Context(), sim.Program{Path: "true", User: "no-such-user"}); err == nil || !strings.Contains(err.Error(), "user no-such-user: there is no such user") {
		t.Errorf("a user that does not exist: %v", err)
	}
}

func TestBoundPorts(t *testing.T) {
	n := stand(t, lone)
	h := host(t, n, "a")
	is := func(protocol string, port uint16, want bool) {
		t.Helper()
		if got, err := h.Bound(protocol, port); got != want || err != nil {
			t.Errorf("%s/%d bound: %v, %v; want %v", protocol, port, got, err, want)
		}
	}
	is("tcp", 4443, false)
	l, err := h.Listen(t.Context(), "tcp4", ":4443")
	if err != nil {
		t.Fatal(err)
	}
	is("tcp", 4443, true)
	is("udp", 4443, false)
	c, err := h.Dial(t.Context(), "tcp4", netip.AddrPortFrom(addressOf(n, "a"), 4443).String())
	if err != nil {
		t.Fatal(err)
	}
	is("tcp", netip.MustParseAddrPort(c.LocalAddr().String()).Port(), false) // connected, and listening to nobody
	c.Close()
	l.Close()
	is("tcp", 4443, false)
	u, err := h.ListenPacket(t.Context(), "udp4", ":3478")
	if err != nil {
		t.Fatal(err)
	}
	is("udp", 3478, true)
	u.Close()
	is("udp", 3478, false)
	if _, err := h.Bound("sctp", 1); err == nil {
		t.Error("sctp has no table that it reads")
	}
}
