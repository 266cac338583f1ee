package punch

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	pion "github.com/pion/stun/v3"
)

// anew gives an address that has not been there before.
func anew(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, byte(n >> 8), byte(n)}), 4000)
}

// fromAnew has a check arrive from there, and gives the addresses of what leaves because
// of it: answers, and checks of ours.
func fromAnew(t *testing.T, a *Agent, now time.Time, n int, c check) (answered, checked []netip.AddrPort) {
	t.Helper()
	binary.BigEndian.PutUint32(c.id[:], uint32(n))
	c.controlling = !a.controlling
	c.fill = paidSize - 96
	if !a.HandleDatagram(now, socketBase, anew(n), fromB(t, c, credB, credA)) {
		t.Fatal("the check is not taken: the test proves nothing")
	}
	for wake := a.PollTimeout(); !wake.IsZero() && wake.Before(now.Add(20*ms)); wake = a.PollTimeout() {
		a.HandleTimeout(wake)
	}
	for _, x := range drain(a) {
		if request(t, x.Payload).Type == pion.BindingRequest {
			checked = append(checked, x.Remote)
		} else {
			answered = append(answered, x.Remote)
		}
	}
	return answered, checked
}

// TestStrangeAddressesAreBounded: a peer whose checks always come from new addresses has
// us check a few of them, whatever it claims: that they are nominated, with numbers or
// without, that they came over a relay, or that each is better than the one before.
func TestStrangeAddressesAreBounded(t *testing.T) {
	const seconds, each = 60, 50
	for name, claim := range map[string]func(n int) check{
		"nothing":             func(int) check { return check{} },
		"nominated":           func(int) check { return check{useCandidate: true} },
		"nominated, numbered": func(n int) check { return check{useCandidate: true, nomination: uint32(n + 1)} },
		"over a relay":        func(n int) check { return check{priority: Priority(Relayed, 0)} },
		"always better":       func(n int) check { return check{priority: uint32(1<<24 + n<<16 | 0xff<<8)} },
		"all of it, in turns": func(n int) check {
			return check{useCandidate: n%2 == 0, nomination: uint32(n), priority: [...]uint32{Priority(Relayed, 0), Priority(Host, 0)}[n/2%2]}
		},
	} {
		const later = seconds / int(strangeEvery/time.Second) // one each, of either allowance
		for kind, row := range map[string]struct {
			agent *Agent
			most  int
		}{
			"extended": {lone(t, false), 2 * (strangeAddresses + later)},
			"standard": {standard(t, func(c *Config) { c.Controlling = false }), standardStrange + later + strangeAddresses + later},
		} {
			a, checked, pairs := row.agent, map[netip.AddrPort]bool{}, 0
			for n := range seconds * each {
				_, to := fromAnew(t, a, epoch.Add(time.Duration(n)*time.Second/each), n, claim(n))
				for _, x := range to {
					checked[x] = true
				}
				pairs = max(pairs, len(a.pairs))
			}
			if n := len(checked); n == 0 || n > row.most {
				t.Errorf("%s, %s agent: %d of %d addresses are checked, want some, and %d at most", name, kind, n, seconds*each, row.most)
			}
			if pairs > min(row.most, MaxPairs) {
				t.Errorf("%s, %s agent: %d pairs at once, want %d at most", name, kind, pairs, min(row.most, MaxPairs))
			}
			end := epoch.Add(seconds * time.Second)
			a.SetRemote(end, []Candidate{reflexive(remoteB)})
			if sent := play(t, a, seconds*time.Second, (seconds+20)*time.Second); !sentTo(sent, remoteB) {
				t.Errorf("%s, %s agent: after that an address that is offered is not checked", name, kind)
			}
		}
	}
}

func sentTo(sent []sentAt, to netip.AddrPort) bool {
	for _, x := range sent {
		if x.Remote == to {
			return true
		}
	}
	return false
}

// TestNominatedStrangers: a pair that the peer nominates can be learned when others have
// used up what there is for them; where that is used up, too, a nomination is not
// answered, since the peer would believe in it, and what is no nomination is.
func TestNominatedStrangers(t *testing.T) {
	a, n := lone(t, false), 0
	say := func(c check) (pair, answer, check bool) {
		n++
		answered, checked := fromAnew(t, a, epoch, n, c)
		return a.findPair(socketBase, anew(n)) != nil, len(answered) > 0, len(checked) > 0
	}
	for i := range strangeAddresses + 5 {
		if pair, answered, checked := say(check{}); pair != (i < strangeAddresses) || checked != pair || !answered {
			t.Errorf("check %d: a pair %v, answered %v, checked %v", i, pair, answered, checked)
		}
	}
	for i := range strangeAddresses + 5 {
		if pair, answered, checked := say(check{useCandidate: true, nomination: uint32(i + 1)}); pair != (i < strangeAddresses) || checked != pair || answered != pair {
			t.Errorf("nomination %d: a pair %v, answered %v, checked %v", i, pair, answered, checked)
		}
	}
}
