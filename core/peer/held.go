package peer

// Held counts what a machine keeps at present, for those who make sure that it
// has bounds.
type Held struct {
	Sessions int
	// Pairs and Checks in flight are those of all sessions, MostPairs those of the
	// session that has the most.
	Pairs, MostPairs, Checks int
	// Permissions are addresses that a relay was asked to let through, Requests what
	// the servers have still to answer.
	Permissions, Requests int
	Rooms, Expected       int
	// Buried are sessions that ended lately, Early introductions that may be allowed
	// soon.
	Buried, Early int
}

// Held gives them.
func (m *Machine) Held() Held {
	h := Held{
		Sessions: len(m.sessions), Rooms: len(m.rooms), Expected: len(m.expected),
		Buried: len(m.buried.ids), Early: len(m.early), Requests: m.rendezvous.InFlight(),
	}
	for _, s := range m.sessions {
		a := s.agent.Held()
		h.Pairs += a.Pairs
		h.MostPairs = max(h.MostPairs, a.Pairs)
		h.Checks += a.InFlight
	}
	for _, a := range m.relays {
		h.Permissions += a.relay.Permissions()
		h.Requests += a.relay.InFlight()
	}
	return h
}
