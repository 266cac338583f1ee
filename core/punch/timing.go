package punch

import (
	"encoding/binary"
	"time"
)

// Timing sets the agent's clocks. The zero value is the defaults.
type Timing struct {
	// Pace is Ta, the time between two checks of the check list
	// (RFC 8445 section 14.2). Zero: StandardPace, or DefaultPace where the agent
	// is extended, which besides sends the first openingBurst at once.
	Pace time.Duration
	// RTT is an estimate of the round-trip time to the peer, used until a check
	// measured it. Zero: DefaultRTT.
	RTT time.Duration
	// Keepalive is how often something is sent over the path in use, so that
	// NATs keep its mapping. Zero: StandardKeepalive, or DefaultKeepalive where
	// the agent is extended; negative: never.
	Keepalive time.Duration
	// Consent is how often the peer is asked at least whether it still wants
	// our datagrams (RFC 7675). Where keepalives are more frequent they ask.
	// Zero: DefaultConsent; negative: never, and a path is never found dead.
	Consent time.Duration
	// DeadAfter is how long a path may leave checks unanswered. It is never
	// less than five retransmissions. Zero: StandardDeadAfter, or
	// DefaultDeadAfter where the agent is extended.
	DeadAfter time.Duration
	// Patience is how long a standard agent does not fail although nothing is
	// left to check (RFC 8863). Zero: StandardPatience.
	Patience time.Duration
}

// What the standards say, for standard agents.
const (
	// StandardPace is the default of RFC 8445 section 14.2.
	StandardPace = 50 * time.Millisecond
	// StandardKeepalive is RFC 8445 section 11's, and its least.
	StandardKeepalive = 15 * time.Second
	// StandardDeadAfter is RFC 7675 section 5.1's: from the last answer on.
	StandardDeadAfter = 30 * time.Second
	// StandardPatience is RFC 8863 section 4's: what a transaction takes that
	// nobody answers (RFC 8489 section 6.2.1).
	StandardPatience = 39500 * time.Millisecond

	// leastRTO, sendsOfCheck (Rc) and lastWait (Rm) are RFC 8445 section 14.3's
	// and RFC 8489 section 6.2.1's.
	leastRTO     = 500 * time.Millisecond
	sendsOfCheck = 7
	lastWait     = 16
	// relayWait is how long a standard agent does not nominate a relayed pair
	// while better ones are being checked.
	relayWait = 500 * time.Millisecond
)

const (
	// openingBurst is how many checks an extended agent sends at once: the first
	// ones of three base addresses on either side, relays included.
	openingBurst = 16
	// openingLead is the part of a round trip after which a pair is checked a
	// second time, minOpeningLead the least that is.
	openingLead    = 8
	minOpeningLead = 5 * time.Millisecond

	// DefaultPace is the least that RFC 8445 section 14.2 allows.
	DefaultPace = 5 * time.Millisecond
	// DefaultRTT is pessimistic for a network of one continent.
	DefaultRTT = 200 * time.Millisecond
	// DefaultKeepalive is half of the shortest idle timeout that NATs in the
	// field show (10 s, MikroTik's for one-way traffic).
	DefaultKeepalive = 5 * time.Second
	// DefaultConsent is RFC 7675 section 5.1's.
	DefaultConsent = 5 * time.Second
	// DefaultDeadAfter is shorter than RFC 7675's 30 s by far: a player notices
	// two seconds, and a path found dead too early costs only new checks.
	DefaultDeadAfter = 2 * time.Second

	// settleRTTs and minSettle make SettleAfter.
	settleRTTs = 12
	minSettle  = time.Second
	// lonelyFactor stretches the bound while the peer has given no sign: it may
	// have learned of us later than we of it.
	lonelyFactor = 4

	// minRTO keeps retransmissions apart on links without delay.
	minRTO = 50 * time.Millisecond
	maxRTO = time.Second
	// suspectRTOs is how many retransmissions make a path doubtful, minSuspect
	// the least time that takes.
	suspectRTOs = 3
	minSuspect  = 300 * time.Millisecond
	deadRTOs    = 5
	// hurry is how many checks in a retransmission's time a path in use gets that
	// has left one unanswered.
	hurry = 3
	// silence is how long a path that carries our data may say nothing before
	// it is asked.
	silence = 250 * time.Millisecond
	// longSilence is the same for a peer that speaks seldom.
	longSilence = time.Second
	// maxRetriggers is how often a failed pair is revived between restarts.
	maxRetriggers = 2
)

func (t Timing) withDefaults(extended bool) Timing {
	set := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	set(&t.RTT, DefaultRTT)
	set(&t.Consent, DefaultConsent)
	set(&t.Patience, StandardPatience)
	if extended {
		set(&t.Pace, DefaultPace)
		set(&t.Keepalive, DefaultKeepalive)
		set(&t.DeadAfter, DefaultDeadAfter)
	} else {
		set(&t.Pace, StandardPace)
		set(&t.Keepalive, StandardKeepalive)
		set(&t.DeadAfter, StandardDeadAfter)
	}
	return t
}

// SettleAfter is how long after the start of checks an extended agent's are over at
// the latest, for a round-trip time: max(1 s, 12 × RTT). It leaves a pair nine
// checks or more, so that on a link that loses a tenth of the packets each way
// fewer than one pair in a million is missed. Where the peer gives no sign of
// life at all it is four times that.
func SettleAfter(rtt time.Duration) time.Duration {
	return max(minSettle, settleRTTs*rtt)
}

// RTT is the largest smoothed round-trip time of the valid pairs, or the
// estimate while none is valid. A relayed pair's bounds the direct ones' from
// above.
func (a *Agent) RTT() time.Duration {
	var rtt time.Duration
	for _, p := range a.pairs {
		if p.state == succeeded {
			rtt = max(rtt, p.rtt)
		}
	}
	if rtt == 0 {
		return a.cfg.RTT
	}
	return rtt
}

// rto is the time between two checks of one pair: a quarter more than the
// round-trip time, and never so short that the pairs in progress would crowd
// out each other's turns. A standard agent's is that of RFC 8445 section 14.3.
func (a *Agent) rto(p *pair) time.Duration {
	active := 0
	for _, q := range a.pairs {
		if q.state == waiting || q.state == inProgress {
			active++
		}
	}
	turn := time.Duration(active) * a.cfg.Pace
	if !a.cfg.Extended {
		return max(leastRTO, turn)
	}
	rtt := p.rtt
	if rtt == 0 {
		rtt = a.RTT()
	}
	return max(min(max(rtt+rtt/4, minRTO), maxRTO), turn)
}

// interCheck is the time from one check of a pair to the next, of which sends have
// left. The first one often dies at a NAT that the peer's own first check is about
// to open, or at a relay that the peer is just telling to let us in: the second
// follows after an eighth of a round trip, and the third after half a
// retransmission. Past ten the interval grows: what is not lost by then is filtered.
// A path in use that has not answered the first one is asked thrice as often until it
// is in doubt: where every third check or its answer is lost, three in a row are
// lost once in 25 times, five once in 200.
func (a *Agent) interCheck(p *pair) time.Duration {
	switch {
	case !a.cfg.Extended:
		return a.standardInterCheck(p)
	case p.state == inProgress && p.sends == 1:
		return max(a.RTT()/openingLead, minOpeningLead)
	case p.state == inProgress && p.sends == 2:
		return a.rto(p) / 2
	case p == a.selected && p.state == succeeded && p.sends >= 2 && !a.doubtful(p.lastSent, p):
		return max(a.rto(p)/hurry, minRTO)
	}
	return a.rto(p) << min(p.sends/10, 3)
}

// suspectAfter is how long a pair may leave checks unanswered until it is doubtful.
// A standard agent asks rarely: two checks in a row are not answered.
func (a *Agent) suspectAfter(p *pair) time.Duration {
	if !a.cfg.Extended {
		return min(2*a.cfg.Consent, a.deadAfter(p))
	}
	if !p.elsewhere.IsZero() {
		return a.rto(p) // it has moved, unless it still answers here
	}
	return min(max(suspectRTOs*a.rto(p), minSuspect), a.deadAfter(p))
}

func (a *Agent) deadAfter(p *pair) time.Duration {
	return max(a.cfg.DeadAfter, deadRTOs*a.rto(p))
}

// settleDeadline is when checks are over whatever they brought.
func (a *Agent) settleDeadline() time.Time {
	bound := SettleAfter(a.RTT())
	if a.heard.IsZero() {
		return a.started.Add(lonelyFactor * bound)
	}
	return a.heard.Add(bound)
}

// interval is the time to the next consent check or keepalive, ±20 %
// (RFC 7675 section 5.1), and whether it asks for an answer; 0 means never.
//
// Who sends nothing needs no consent (section 5.1), only its mapping: without data the
// keepalive alone counts, also where it is the longer one.
func (a *Agent) interval(now time.Time) (d time.Duration, ask bool) {
	keepalive, consent := a.cfg.Keepalive, a.cfg.Consent
	switch {
	case keepalive < 0 && consent < 0:
		return 0, false
	case consent < 0:
		d = keepalive
	case keepalive < 0:
		d, ask = consent, true
	case a.cfg.Extended && now.Sub(a.spoke) >= consent:
		d, ask = keepalive, true
	default:
		d, ask = min(keepalive, consent), true
	}
	return d*4/5 + time.Duration(float64(d)*2/5*a.random()), ask
}

// SetKeepalive sets Timing.Keepalive anew, for owners who learn how long NATs wait.
func (a *Agent) SetKeepalive(now time.Time, d time.Duration) {
	if d == a.cfg.Keepalive || d <= 0 {
		return
	}
	a.cfg.Keepalive, a.given.Keepalive, a.polled = d, d, false
	for _, p := range a.pairs { // what was to come later than that
		if next, _ := a.interval(now); p.state == succeeded && p.unanswered.IsZero() && p.next.After(now.Add(next)) {
			p.next = now.Add(next)
		}
	}
}

// random draws from [0, 1).
func (a *Agent) random() float64 {
	return float64(binary.BigEndian.Uint32(a.draw(4))) / (1 << 32)
}

// Estimate sets Timing.RTT anew, for owners who learn more about the peer after
// the agent was made.
func (a *Agent) Estimate(rtt time.Duration) {
	if rtt > 0 {
		a.cfg.RTT, a.given.RTT, a.polled = rtt, rtt, false
	}
}
