package rendezvous

import (
	"net/netip"
	"time"
)

// Limits bound what sources and peers may cost the server. A zero field is its
// default.
type Limits struct {
	// Registrations in all, and from one address (an IPv6 /64 counts as one):
	// a carrier's NAT puts many peers behind one.
	Registrations          int
	RegistrationsPerSource int
	// Rooms in all; a peer may be in eight.
	Rooms int
	// Rate is how many requests a second an address may send, Burst how many
	// at once. What exceeds it is dropped without an answer.
	Rate, Burst float64
	// ErrorRate and ErrorBurst are the same for error responses, and for
	// answers to Binding requests that are longer than these, so that nobody
	// can be made the target of many by a forged source.
	ErrorRate, ErrorBurst float64
}

const (
	defaultRegistrations          = 65536
	defaultRegistrationsPerSource = 1024
	defaultRooms                  = 4096
	defaultRate                   = 500
	defaultBurst                  = 1000
	defaultErrorRate              = 50
	defaultErrorBurst             = 100

	// maxSources is how many addresses are counted at a time. When a flood of
	// forged ones fills the table, new ones share the bucket of all others.
	maxSources = 65536
	// maxIntroductions is how many introductions a peer may leave unanswered.
	maxIntroductions = 64
	// joinRate and joinBurst are how many a second, and at once, may enter rooms
	// from one address: each has up to 63 others told, several times.
	joinRate, joinBurst = 20, 256
	// maxRecent is how many of a peer's last introductions are recognised when
	// their request is retransmitted.
	maxRecent = 64
	// connectLife is how much older than the newest request a CONNECT may be, in
	// microseconds of its sender's clock.
	connectLife = 30e6
)

func (l Limits) withDefaults() Limits {
	for _, f := range []struct {
		field *int
		value int
	}{
		{&l.Registrations, defaultRegistrations},
		{&l.RegistrationsPerSource, defaultRegistrationsPerSource},
		{&l.Rooms, defaultRooms},
	} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	for _, f := range []struct {
		field *float64
		value float64
	}{
		{&l.Rate, defaultRate}, {&l.Burst, defaultBurst},
		{&l.ErrorRate, defaultErrorRate}, {&l.ErrorBurst, defaultErrorBurst},
	} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	return l
}

// budgets are token buckets, one for each source address.
type budgets struct {
	rate, burst float64
	bySource    map[netip.Addr]*bucket
}

type bucket struct {
	tokens float64
	at     time.Time
}

func newBudgets(rate, burst float64) *budgets {
	return &budgets{rate: rate, burst: burst, bySource: make(map[netip.Addr]*bucket)}
}

// spend takes a token of the source's; false if there is none.
func (b *budgets) spend(now time.Time, source netip.Addr) bool {
	key := sourceOf(source)
	k := b.bySource[key]
	if k == nil {
		if len(b.bySource) >= maxSources {
			key = netip.Addr{} // the bucket of all others
			k = b.bySource[key]
		}
		if k == nil {
			k = &bucket{tokens: b.burst, at: now}
			b.bySource[key] = k
		}
	}
	k.fill(now, b)
	if k.tokens < 1 {
		return false
	}
	k.tokens--
	return true
}

func (k *bucket) fill(now time.Time, b *budgets) {
	if passed := now.Sub(k.at); passed > 0 {
		k.tokens = min(b.burst, k.tokens+passed.Seconds()*b.rate)
		k.at = now
	}
}

// sweep forgets the sources whose buckets are full again.
func (b *budgets) sweep(now time.Time) {
	for key, k := range b.bySource {
		if k.fill(now, b); k.tokens >= b.burst {
			delete(b.bySource, key)
		}
	}
}

// sourceOf is the unit that limits are counted by: an IPv4 address, or an IPv6
// /64, which is the least that a customer gets.
func sourceOf(a netip.Addr) netip.Addr {
	if a = a.Unmap(); a.Is4() {
		return a
	}
	p, err := a.WithZone("").Prefix(64)
	if err != nil {
		return a
	}
	return p.Addr()
}
