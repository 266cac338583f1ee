package ice

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/punch"
	"p2pmodel/core/relay"
	"p2pmodel/core/stun"
)

// firstAllocation is the base of the first allocation; sockets are before it.
const firstAllocation punch.Base = 128

// mappingKeepalive is Tr (RFC 8445 section 5.1.1.4): how often the mapping of a
// reflexive candidate is refreshed while there is no path.
const mappingKeepalive = 15 * time.Second

// binding is a STUN transaction that asks where a socket's packets come from.
type binding struct {
	link   *link
	server netip.AddrPort
}

// allocation is what a relay has for one socket.
type allocation struct {
	base   punch.Base
	link   *link
	index  int // the relay's place in the configuration
	client *relay.Client
	asked  bool // and no answer yet
	// permitted are those that the relay was asked to let in.
	permitted map[netip.AddrPort]bool
}

// maxPermitted bounds what an allocation is asked to let in; pairs are fewer.
const maxPermitted = 2 * punch.MaxPairs

// permit asks the relay to let a candidate of the other side in.
func (a *allocation) permit(now time.Time, remote netip.AddrPort) {
	relayed, ok := a.client.Relayed()
	if a.permitted[remote] || !punch.Relayable(remote.Addr()) || len(a.permitted) >= maxPermitted || ok && relayed.Addr().Is4() != remote.Addr().Is4() {
		return
	}
	a.permitted[remote] = true
	a.client.Permit(now, remote)
}

func (m *Machine) allocationOf(base punch.Base) *allocation {
	for _, a := range m.allocations {
		if a.base == base {
			return a
		}
	}
	return nil
}

// foundation is what candidates of one foundation share (RFC 8445 section 5.1.1.3).
type foundation struct {
	kind         punch.Kind
	base, server netip.Addr
}

// beginGathering begins a generation of candidates at all sockets that there are.
func (m *Machine) beginGathering(now time.Time) {
	m.gathering, m.gathered = true, false
	m.gatherBy, m.keepAt = now.Add(m.cfg.Gather), now.Add(mappingKeepalive)
	m.locals = nil
	for _, l := range m.links {
		l.candidates = nil
		if l.local.IsValid() {
			m.gatherAt(now, l)
		}
	}
	for _, a := range m.allocations { // those that live go on
		if _, ok := a.client.Relayed(); ok {
			m.relayed(now, a)
		} else {
			a.asked = true
			a.client.Start(now)
		}
	}
	m.doneGathering()
}

// gatherAt gathers at one socket.
func (m *Machine) gatherAt(now time.Time, l *link) {
	m.discovered(now, l, candidateOf{kind: punch.Host, addr: l.local})
	if !m.gathering {
		return
	}
	for _, server := range m.cfg.STUN {
		if server.Addr().Is4() == l.local.Addr().Is4() {
			m.ask(now, l, server)
		}
	}
	for i, r := range m.cfg.TURN {
		has := slices.ContainsFunc(m.allocations, func(a *allocation) bool { return a.link == l && a.index == i })
		if r.Server.Addr().Is4() == l.local.Addr().Is4() && !has && len(m.allocations) < maxAllocations {
			m.allocate(now, l, i)
		}
	}
}

// ask begins a Binding transaction.
func (m *Machine) ask(now time.Time, l *link, server netip.AddrPort) {
	id := [pion.TransactionIDSize]byte(m.draw(pion.TransactionIDSize))
	tx := m.bindings.Start(now, stun.Binding(id, stun.PaysForMapped), stun.Schedule{}, &binding{link: l, server: server})
	m.Outbox.Send(l.socket, server, bytes.Clone(tx.Request))
}

func (m *Machine) allocate(now time.Time, l *link, index int) {
	base := firstAllocation
	for m.allocationOf(base) != nil {
		base++
	}
	a := &allocation{base: base, link: l, index: index, client: m.relayClient(m.cfg.TURN[index]), asked: true, permitted: map[netip.AddrPort]bool{}}
	m.allocations = append(m.allocations, a)
	m.permitAll(now, a)
	a.client.Start(now)
}

// retransmit sends Binding requests again and gives up those that are past their
// schedule.
func (m *Machine) retransmit(now time.Time) {
	for {
		tx, b, failed, ok := m.bindings.Poll(now)
		switch {
		case !ok:
			m.doneGathering()
			return
		case failed:
			m.Emit(ServerFailed{Err: fmt.Errorf("STUN server %s does not answer at %s", b.server, b.link.local)})
		default:
			m.Outbox.Send(b.link.socket, b.server, bytes.Clone(tx.Request))
		}
	}
}

// handleBinding takes a response that may be a STUN server's; false: it is not.
func (m *Machine) handleBinding(now time.Time, base punch.Base, from netip.AddrPort, payload []byte) bool {
	message, err := m.parser.Parse(payload)
	if err != nil || message.Type.Method != pion.MethodBinding {
		return false
	}
	_, b, ok := m.bindings.Find(message.TransactionID)
	if !ok || b.server != from || b.link.base != base {
		return false
	}
	switch message.Type.Class {
	case pion.ClassSuccessResponse:
		mapped, err := stun.GetXORAddress(message, pion.AttrXORMappedAddress)
		if err != nil { // servers of before RFC 5389
			mapped, err = stun.GetAddress(message, pion.AttrMappedAddress)
		}
		if err == nil && usable(mapped) {
			m.reflexive(now, b.link, mapped, from.Addr())
		}
	case pion.ClassErrorResponse:
		m.Emit(ServerFailed{Err: fmt.Errorf("STUN server %s: %w", from, stun.ErrorOf(message))})
	default:
		return false
	}
	m.bindings.Cancel(message.TransactionID)
	m.doneGathering()
	return true
}

// reflexive takes what a server has seen of a socket.
func (m *Machine) reflexive(now time.Time, l *link, mapped netip.AddrPort, server netip.Addr) {
	m.discovered(now, l, candidateOf{kind: punch.ServerReflexive, addr: mapped, related: l.local, server: server})
}

// relayed takes an allocation's address.
func (m *Machine) relayed(now time.Time, a *allocation) {
	addr, _ := a.client.Relayed()
	c := m.candidate(a.link, candidateOf{kind: punch.Relayed, addr: addr, server: a.client.Server().Addr(), index: a.link.index*maxServers + a.index})
	m.setLocal(now, a.base, []punch.Candidate{{Kind: punch.Relayed, Addr: addr, Priority: c.Priority}})
	m.announce(c)
}

// candidateOf is what makes a candidate.
type candidateOf struct {
	kind          punch.Kind
	addr, related netip.AddrPort
	server        netip.Addr
	index         int
}

// discovered takes a candidate of a socket. Only the first of an address counts
// (RFC 8445 section 5.1.3), and none after the end of candidates.
func (m *Machine) discovered(now time.Time, l *link, of candidateOf) {
	if slices.ContainsFunc(l.candidates, func(c punch.Candidate) bool { return c.Addr == of.addr }) || len(l.candidates) > maxServers {
		return
	}
	of.index = l.index
	c := m.candidate(l, of)
	l.candidates = append(l.candidates, punch.Candidate{Kind: c.Kind, Addr: c.Addr, Priority: c.Priority})
	if !m.cfg.RelayOnly {
		m.setLocal(now, l.base, l.candidates)
		m.announce(c)
	}
}

// candidate names a candidate.
func (m *Machine) candidate(l *link, of candidateOf) Candidate {
	f := foundation{of.kind, l.addr, of.server}
	i := slices.Index(m.foundations, f)
	if i < 0 {
		i = len(m.foundations)
		m.foundations = append(m.foundations, f)
	}
	return Candidate{
		Foundation: strconv.Itoa(i + 1), Component: onlyComponent, Kind: of.kind, Addr: of.addr,
		Priority: punch.Priority(of.kind, of.index), Related: of.related,
	}
}

// announce tells of a candidate, as long as there may be more.
func (m *Machine) announce(c Candidate) {
	if m.gathering && len(m.locals) < MaxCandidates && !slices.ContainsFunc(m.locals, func(o Candidate) bool { return o.Addr == c.Addr }) {
		m.locals = append(m.locals, c)
		m.Emit(Gathered{Candidate: c})
	}
}

// forgetCandidates forgets those of a base that is gone.
func (m *Machine) forgetCandidates(now time.Time, base punch.Base) { m.setLocal(now, base, nil) }

// doneGathering ends gathering when nothing is waited for.
func (m *Machine) doneGathering() {
	waits := m.bindings.Len() > 0 ||
		slices.ContainsFunc(m.links, func(l *link) bool { return !l.local.IsValid() }) ||
		slices.ContainsFunc(m.allocations, func(a *allocation) bool { return a.asked })
	if !waits {
		m.finishGathering()
	}
}

func (m *Machine) finishGathering() {
	if !m.gathering {
		return
	}
	m.gathering, m.gathered, m.gatherBy = false, true, time.Time{}
	m.Emit(GatheringDone{})
}

// keepMappings refreshes what reflexive candidates stand on, until there is a path.
func (m *Machine) keepMappings(now time.Time) {
	m.keepAt = time.Time{}
	if m.path.Kind != punch.NoPath || m.state == Failed {
		return
	}
	m.keepAt = now.Add(mappingKeepalive)
	for _, l := range m.links {
		for _, server := range m.cfg.STUN {
			if l.local.IsValid() && server.Addr().Is4() == l.local.Addr().Is4() {
				m.ask(now, l, server)
			}
		}
	}
}

// pumpAllocation takes what a relay client wants done.
func (m *Machine) pumpAllocation(now time.Time, a *allocation) (busy bool) {
	for to, payload, ok := a.client.PollTransmit(); ok; to, payload, ok = a.client.PollTransmit() {
		busy = true
		m.Outbox.Send(a.link.socket, to, payload)
	}
	for e, ok := a.client.PollEvent(); ok; e, ok = a.client.PollEvent() {
		busy = true
		switch e := e.(type) {
		case relay.Allocated:
			a.asked = false
			if usable(e.Reflexive) {
				m.reflexive(now, a.link, e.Reflexive, a.client.Server().Addr())
			}
			m.relayed(now, a)
			m.doneGathering()
		case relay.AllocateFailed:
			a.asked = false
			m.Emit(ServerFailed{Err: e.Err})
			m.doneGathering()
		case relay.Lost:
			m.Emit(ServerFailed{Err: e.Err})
			m.forgetCandidates(now, a.base)
		case relay.Data:
			m.receive(now, a.base, unmap(e.From), e.Payload)
		}
	}
	return busy
}
