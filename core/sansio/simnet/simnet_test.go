package simnet

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"p2pmodel/core/sansio"
)

// talker is a machine that the test moves by hand; "ping" gets "pong".
type talker struct {
	sansio.Outbox
	wake  time.Time
	addrs []netip.Addr
	bound netip.AddrPort
	err   error
	heard []string
}

func (m *talker) HandleBound(_ time.Time, _ sansio.Socket, local netip.AddrPort, err error) {
	m.bound, m.err = local, err
}
func (m *talker) HandleInterfaces(_ time.Time, a []netip.Addr) { m.addrs = a }
func (m *talker) HandleTimeout(now time.Time)                  { m.wake = time.Time{}; m.Emit(now) }
func (m *talker) PollTimeout() time.Time                       { return m.wake }
func (m *talker) HandleDatagram(_ time.Time, d sansio.Datagram) {
	m.heard = append(m.heard, fmt.Sprintf("%v %s", d.Remote, d.Payload))
	if string(d.Payload) == "ping" {
		m.Send(d.Socket, d.Remote, []byte("pong"))
	}
}

func addr(s string) netip.Addr   { return netip.MustParseAddr(s) }
func ap(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func start(t *testing.T, h *Host) (*talker, *Runner) {
	t.Helper()
	m := new(talker)
	r := h.Run(m, nil)
	r.Do(func(time.Time) { m.Bind(1, ap("0.0.0.0:1000")) })
	if m.err != nil {
		t.Fatal(m.err)
	}
	return m, r
}

func (m *talker) say(r *Runner, to, text string) {
	r.Do(func(time.Time) { m.Send(1, ap(to), []byte(text)) })
}

func TestThroughNATs(t *testing.T) {
	n := New(1)
	carrier := n.Internet().Behind(&TestNAT{External: addr("198.51.100.1")}, addr("198.51.100.1"))
	home := carrier.Behind(&TestNAT{External: addr("100.64.0.1"), Mapping: AddressPort, Filtering: AddressPort}, addr("100.64.0.1"))
	inside, r := start(t, home.Host("inside", addr("192.168.0.2")))
	server, _ := start(t, n.Internet().Host("server", addr("203.0.113.1")))

	inside.say(r, "203.0.113.1:1000", "ping")
	n.Run(time.Second)
	if got := fmt.Sprint(server.heard); got != "[198.51.100.1:20000 ping]" {
		t.Errorf("the server heard %s", got)
	}
	if got := fmt.Sprint(inside.heard); got != "[203.0.113.1:1000 pong]" {
		t.Errorf("the host inside heard %s", got)
	}
}

func TestFilteringAndTimeout(t *testing.T) {
	n := New(1)
	nat := &TestNAT{External: addr("198.51.100.1"), Filtering: Address, Timeout: 10 * time.Second}
	home := n.Internet().Behind(nat, nat.External)
	inside, r := start(t, home.Host("inside", addr("192.168.0.2")))
	friend, fr := start(t, n.Internet().Host("friend", addr("203.0.113.1")))
	stranger, sr := start(t, n.Internet().Host("stranger", addr("203.0.113.2")))

	var lost []string
	n.Observe(func(p Packet) {
		if p.Lost != "" {
			lost = append(lost, p.Lost)
		}
	})
	inside.say(r, "203.0.113.1:1000", "hello")
	n.Run(9 * time.Second)
	friend.say(fr, "198.51.100.1:20000", "in time")
	stranger.say(sr, "198.51.100.1:20000", "uninvited")
	n.Run(time.Second)
	friend.say(fr, "198.51.100.1:20000", "too late")
	n.Run(time.Second)
	if got := fmt.Sprint(inside.heard); got != "[203.0.113.1:1000 in time]" {
		t.Errorf("the host inside heard %s", got)
	}
	if len(lost) != 2 || !strings.Contains(lost[0], "inbound by the NAT") {
		t.Errorf("lost: %q", lost)
	}
	inside.say(r, "203.0.113.1:1000", "anew")
	n.Run(time.Second)
	if got := friend.heard[len(friend.heard)-1]; got != "198.51.100.1:20001 anew" {
		t.Errorf("after the timeout the friend heard %q, want another port", got)
	}
}

func TestDelayLossAndOrderAreSeeded(t *testing.T) {
	script := func(seed uint64) (out string) {
		n := New(seed)
		a := n.Internet().Host("a", addr("203.0.113.1"))
		b := n.Internet().Host("b", addr("203.0.113.2"))
		a.SetLink(Link{Delay: 20 * time.Millisecond, Loss: 0.5})
		b.SetLink(Link{Delay: 5 * time.Millisecond})
		am, ar := start(t, a)
		bm, _ := start(t, b)
		for i := range 20 {
			am.say(ar, "203.0.113.2:1000", fmt.Sprint(i))
		}
		if n.Until(24*time.Millisecond, func() bool { return len(bm.heard) > 0 }) {
			t.Error("heard before the delay has passed")
		}
		n.Run(time.Millisecond)
		return fmt.Sprint(bm.heard)
	}
	one, again, other := script(1), script(1), script(2)
	if one != again {
		t.Errorf("seed 1 gives\n%s and\n%s", one, again)
	}
	if one == other {
		t.Errorf("seeds 1 and 2 lose the same: %s", one)
	}
	if count := strings.Count(one, ":1000"); count < 3 || count > 17 {
		t.Errorf("of 20 packets at a loss of one half, %d arrived", count)
	}
}

func TestTimeouts(t *testing.T) {
	n := New(1)
	m := new(talker)
	var at []time.Time
	r := n.Internet().Host("a", addr("203.0.113.1")).Run(m, func(now time.Time, e sansio.Event) { at = append(at, now) })
	r.Do(func(now time.Time) { m.wake = now.Add(time.Minute) })
	n.Run(time.Hour)
	if len(at) != 1 || at[0].Sub(Epoch) != time.Minute || n.Now().Sub(Epoch) != time.Hour {
		t.Errorf("timeouts at %v, now %v", at, n.Now())
	}
	r.Do(func(now time.Time) { m.wake = now.Add(time.Minute) })
	r.Stop()
	n.Run(time.Hour)
	if len(at) != 1 || r.Do(func(time.Time) {}) {
		t.Error("a stopped machine is called")
	}
}

func TestRoaming(t *testing.T) {
	n := New(1)
	wifi := n.Internet().Behind(&TestNAT{External: addr("198.51.100.1")}, addr("198.51.100.1"))
	host := n.Internet().Host("mobile", addr("198.51.100.9"))
	m, r := start(t, host)
	server, _ := start(t, n.Internet().Host("server", addr("203.0.113.1")))
	m.say(r, "203.0.113.1:1000", "one")
	n.Run(time.Second)
	host.Move(wifi, addr("192.168.0.2"))
	m.say(r, "203.0.113.1:1000", "two")
	n.Run(time.Second)
	if got := fmt.Sprint(server.heard); got != "[198.51.100.9:1000 one 198.51.100.1:20000 two]" {
		t.Errorf("the server heard %s", got)
	}
	if got := fmt.Sprint(m.addrs); got != "[192.168.0.2]" {
		t.Errorf("the machine knows the addresses %s", got)
	}
}

func TestSockets(t *testing.T) {
	n := New(1)
	h := n.Internet().Host("a", addr("203.0.113.1"), addr("203.0.113.2"))
	m, r := start(t, h)
	for name, c := range map[string]struct {
		local string
		ok    bool
	}{
		"any port":            {"203.0.113.2:0", true},
		"port taken on all":   {"203.0.113.2:1000", false},
		"address of others":   {"203.0.113.9:0", false},
		"another port on all": {"0.0.0.0:1001", true},
	} {
		r.Do(func(time.Time) { m.Bind(2, ap(c.local)) })
		if (m.err == nil) != c.ok {
			t.Errorf("%s: %v", name, m.err)
		}
		r.Do(func(time.Time) { m.Unbind(2) })
	}
}
