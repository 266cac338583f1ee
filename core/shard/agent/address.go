package agent

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// Bounds of what is remembered of addresses.
const (
	maxAddresses = 1 << 16
	// forgetAfter is when nothing of an address without connections is worth
	// remembering: its buckets are full again.
	forgetAfter = 30 * time.Second
	sweepEvery  = time.Second
)

// address is one address of clients, with what it may do.
type address struct {
	connections int // guarded by addresses
	used        time.Time
	dials       *rate.Limiter
	logins      *rate.Limiter
	resumes     *rate.Limiter
	requests    atomic.Int64
	away        atomic.Int64 // of them, those that wait for a room
}

// addresses knows the addresses that have connections or had some lately. When
// there are too many, the new ones share what one may do.
type addresses struct {
	limits Limits
	mu     sync.Mutex
	known  map[netip.Addr]*address
	crowd  *address
	swept  time.Time
	total  int
}

func newAddresses(l Limits) *addresses {
	a := &addresses{limits: l, known: map[netip.Addr]*address{}}
	a.crowd = a.fresh()
	return a
}

func (a *addresses) fresh() *address {
	return &address{
		dials:   rate.NewLimiter(rate.Limit(a.limits.ConnectionRate), a.limits.ConnectionBurst),
		logins:  rate.NewLimiter(rate.Limit(a.limits.LoginRate), a.limits.LoginBurst),
		resumes: rate.NewLimiter(rate.Limit(a.limits.ResumeRate), a.limits.ResumeBurst),
	}
}

// total connections are counted when they come, before it is known of whom they
// are.
func (a *addresses) enter() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.total >= a.limits.Connections {
		return false
	}
	a.total++
	return true
}

func (a *addresses) leave() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.total--
}

func (a *addresses) connections() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.total
}

// admit gives a connection to its address, or says why not.
func (a *addresses) admit(ip netip.Addr) (*address, string) {
	ip = network(ip)
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	x := a.known[ip]
	if x == nil {
		x = a.add(ip, now)
	}
	x.used = now
	switch {
	case x.connections >= a.limits.ConnectionsPerAddress:
		return nil, "connections_per_address"
	case !x.dials.AllowN(now, 1):
		return nil, "connection_rate"
	}
	x.connections++
	return x, ""
}

func (a *addresses) release(x *address) {
	a.mu.Lock()
	defer a.mu.Unlock()
	x.connections--
	x.used = time.Now()
}

// add makes room for an address if need be.
func (a *addresses) add(ip netip.Addr, now time.Time) *address {
	if len(a.known) >= maxAddresses/2 && now.Sub(a.swept) >= sweepEvery {
		a.swept = now
		for ip, x := range a.known {
			if x.connections == 0 && now.Sub(x.used) > forgetAfter {
				delete(a.known, ip)
			}
		}
	}
	if len(a.known) >= maxAddresses {
		return a.crowd
	}
	x := a.fresh()
	a.known[ip] = x
	return x
}

// network is what limits are per: a customer of IPv6 has 2^64 addresses.
func network(ip netip.Addr) netip.Addr {
	ip = ip.Unmap().WithZone("")
	if ip.Is6() {
		p, _ := ip.Prefix(64)
		return p.Addr()
	}
	return ip
}
