package rendezvous

// Held counts what a server keeps at present.
type Held struct {
	Registrations, Rooms int
	// Notices are requests of the server's own that a peer has still to answer.
	Notices int
	// Keys are those of peers that it remembers.
	Keys int
}

// Held gives them.
func (s *Server) Held() Held {
	return Held{
		Registrations: len(s.peers), Rooms: len(s.rooms), Notices: s.notices.Len(),
		Keys: len(s.keys),
	}
}

// InFlight is how many requests the server has still to answer, those that wait for
// their turn included.
func (c *Client) InFlight() int { return c.inFlight.Len() + len(c.waiting) }
