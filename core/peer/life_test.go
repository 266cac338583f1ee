package peer

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"p2pmodel/core/sansio/simnet"
)

// TestDeadRelayDelaysNothing: the relay is off before anyone starts.
func TestDeadRelayDelaysNothing(t *testing.T) {
	alive := newWorld(t, 1)
	a, b := alive.pair(restricted, portRestricted, Config{})
	alive.net.Until(10*time.Second, settled(a, b))
	_, with, _ := last[Settled](a)

	dead := newWorld(t, 1)
	dead.relay.SetLink(simnet.Link{Down: true})
	a, b = dead.pair(restricted, portRestricted, Config{})
	dead.net.Until(10*time.Second, settled(a, b))
	dead.want(a, b, Direct)
	if _, without, _ := last[Settled](a); without > with+10*ms {
		t.Errorf("without a relay settled after %v, with one after %v", without, with)
	}
}

// TestNoRelayAndNoWay: nothing connects, and that is said; then the relay comes
// up and everything works.
func TestNoRelayAndNoWay(t *testing.T) {
	w := newWorld(t, 1)
	w.relay.SetLink(simnet.Link{Down: true})
	a, b := w.pair(symmetric, symmetric, Config{})
	w.net.Until(20*time.Second, settled(a, b))
	w.want(a, b, NoPath)
	if err := a.send(b, "x"); !errors.Is(err, ErrNoPath) {
		t.Errorf("sending without a path: error %v, want ErrNoPath", err)
	}
	w.relay.SetLink(simnet.Link{})
	w.net.Run(60 * time.Second)
	w.want(a, b, Relay)
}

// TestLateRelay: the allocation comes after the introduction and is trickled.
func TestLateRelay(t *testing.T) {
	w := newWorld(t, 1)
	w.relay.SetLink(simnet.Link{Down: true})
	a, b := w.pair(symmetric, symmetric, Config{})
	w.net.Run(300 * ms)
	w.relay.SetLink(simnet.Link{})
	w.net.Run(5 * time.Second)
	w.want(a, b, Relay)
}

// TestOneRelayIsEnough: only the peer behind the symmetric NAT has a relay.
func TestOneRelayIsEnough(t *testing.T) {
	w := newWorld(t, 1)
	none := Config{Relay: &RelayConfig{Server: netip.MustParseAddrPort("198.18.0.99:3478")}}
	a, b := w.peer("a", symmetric, Config{}), w.peer("b", portRestricted, none)
	w.net.Run(500 * ms)
	a.connect(b)
	w.net.Until(10*time.Second, settled(a, b))
	w.want(a, b, Relay)
	if atA, atB := w.exchange(a, b, 20, 50*ms); atA < 18 || atB < 18 {
		t.Errorf("of 20 datagrams each %d and %d arrived", atA, atB)
	}
	if w.direct != 0 {
		t.Errorf("%d frames went directly", w.direct)
	}
}

func TestRelayOnly(t *testing.T) {
	for _, both := range []bool{true, false} {
		w := newWorld(t, 1)
		only := Config{Techniques: Techniques{RelayOnly: true}}
		other := only
		if !both {
			other = Config{}
		}
		a, b := w.peer("a", fullCone, only), w.peer("b", fullCone, other)
		w.net.Run(500 * ms)
		a.connect(b)
		w.net.Until(10*time.Second, settled(a, b))
		w.net.Run(10 * time.Second)
		w.exchange(a, b, 20, 50*ms)
		w.want(a, b, Relay)
		if w.direct != 0 {
			t.Errorf("%d frames went directly although checks are disabled", w.direct)
		}
	}
}

func TestLossyLinks(t *testing.T) {
	for seed := range uint64(15) {
		for _, row := range []struct {
			a, b behaviour
			want PathKind
		}{{restricted, portRestricted, Direct}, {symmetric, symmetric, Relay}} {
			w := newWorld(t, seed)
			w.loss = 0.05 // on each access link and direction: a tenth end to end
			a, b := w.pair(row.a, row.b, Config{})
			if !w.net.Until(30*time.Second, settled(a, b)) {
				t.Fatalf("seed %d: not settled after 30 s", seed)
			}
			w.net.Run(20 * time.Second)
			w.want(a, b, row.want)
			if t.Failed() {
				t.Fatalf("seed %d, %s and %s", seed, row.a.name, row.b.name)
			}
		}
	}
}

// TestKeepalive: TC-05's first half. NATs forget after 2 s.
func TestKeepalive(t *testing.T) {
	for _, row := range []struct {
		a, b behaviour
		want PathKind
	}{{portRestricted, portRestricted, Direct}, {symmetric, symmetric, Relay}} {
		w := newWorld(t, 1)
		w.timeout = 2 * time.Second
		a, b := w.pair(row.a, row.b, laboratory)
		w.net.Until(10*time.Second, settled(a, b))
		w.net.Run(30 * time.Second) // fifteen timeouts without data
		w.want(a, b, row.want)
		if lost := count[PathLost](a) + count[PathLost](b); lost != 0 {
			t.Errorf("%s: lost %d paths in fifteen timeouts\n%s", row.a.name, lost, a.history())
		}
		before := len(a.got)
		if err := b.send(a, "still there?"); err != nil {
			t.Error(err)
		}
		w.net.Run(time.Second)
		if len(a.got) != before+1 {
			t.Errorf("%s: the peer's first datagram after fifteen timeouts did not arrive", row.a.name)
		}
	}
}

// TestSilence is its control: keepalive and consent off, two timeouts of
// silence, the peer sends first and nothing arrives, directly or relayed.
func TestSilence(t *testing.T) {
	for _, row := range []struct {
		a, b behaviour
		want PathKind
	}{{portRestricted, portRestricted, Direct}, {symmetric, symmetric, Relay}} {
		w := newWorld(t, 1)
		w.timeout = 2 * time.Second
		a, b := w.pair(row.a, row.b, Config{Keepalive: -1, Consent: -1})
		w.net.Until(10*time.Second, settled(a, b))
		w.net.Run(4 * time.Second) // the last checks and requests
		packets := 0
		w.net.Observe(func(simnet.Packet) { packets++ })
		w.net.Run(8 * time.Second)
		if packets != 0 {
			t.Errorf("%v: %d packets in the time of silence", row.want, packets)
		}
		w.want(a, b, row.want) // as far as they know
		before := len(a.got)
		if err := b.send(a, "still there?"); err != nil {
			t.Error(err)
		}
		w.net.Run(time.Second)
		if len(a.got) != before {
			t.Errorf("%v: a datagram arrived although a's mapping has expired", row.want)
		}
	}
}
