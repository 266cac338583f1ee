package relay

import pion "github.com/pion/stun/v3"

// charge counts relayed addresses for an account and for where it comes from. The
// code is what to refuse with where a quota is used up, or 0.
func (s *Server) charge(account string, source host, n int) pion.ErrorCode {
	switch {
	case s.accounts[account]+n > s.cfg.MaxAllocationsPerUser:
		return pion.CodeAllocQuotaReached
	case s.cfg.MaxAllocationsPerAddress > 0 && s.sources[source]+n > s.cfg.MaxAllocationsPerAddress:
		return pion.CodeAllocQuotaReached
	case s.cfg.MaxAllocations > 0 && s.charged+n > s.cfg.MaxAllocations:
		return pion.CodeInsufficientCapacity
	}
	s.charged += n
	s.accounts[account] += n
	s.sources[source] += n
	return 0
}

// discount is charge's inverse.
func (s *Server) discount(account string, source host, n int) {
	s.charged -= n
	if s.accounts[account] -= n; s.accounts[account] <= 0 {
		delete(s.accounts, account)
		delete(s.userRates, account)
	}
	if s.sources[source] -= n; s.sources[source] <= 0 {
		delete(s.sources, source)
	}
}

// recount moves an allocation's charge to another source, as its client has.
func (s *Server) recount(a *allocation, source host) {
	n := a.size()
	if s.sources[a.source] -= n; s.sources[a.source] <= 0 {
		delete(s.sources, a.source)
	}
	s.sources[source] += n
	a.source = source
}

// size is how many relayed addresses an allocation has.
func (a *allocation) size() (n int) {
	for _, r := range a.relays {
		if r.addr.IsValid() {
			n++
		}
	}
	return n
}
