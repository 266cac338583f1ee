package traits

// Bracket is where a NAT that counts has put mappings of ours: between two that
// servers saw. The socket asked one server, then sent to its peers, then asked
// another, in one go; so the ports that it looks for lie between the two that
// it was told, however many mappings others make meanwhile. That is
// why no rate of background load has to be known: what came between is counted.
type Bracket struct {
	// Before and After are the ports that the servers saw; 0: no server saw one
	// there, or it is not of the sequence.
	Before, After uint16
	// Opened is how many new mappings were made in between, at least 1.
	Opened int
	// Delta is Traits.Delta.
	Delta int
}

const (
	// MostPorts is the largest window that is worth probing one by one.
	MostPorts = 64
	// fineDelta: of steps up to this size every port in between is a candidate,
	// the likely ones first. A step that was measured under load may be a multiple
	// of the real one.
	fineDelta = 4
	// blind is how many ports are tried where one side of the bracket is missing.
	blind = 8
)

// Ports are the ports of the mappings in between, likely ones first, at most
// MostPorts. None: the counter has wrapped around, or too much came between; it
// is to be measured again.
func (b Bracket) Ports() (ports []uint16) {
	step := b.Delta
	if step == 0 || b.Opened < 1 {
		return nil
	}
	add := func(from uint16, by int) {
		if p := int(from) + by; p > 0 && p <= 65535 && len(ports) < MostPorts {
			ports = append(ports, uint16(p))
		}
	}
	switch {
	case b.Before == 0 && b.After == 0:
		return nil
	case b.Before == 0:
		for i := range b.Opened + blind {
			add(b.After, -step*(i+1))
		}
		return ports
	case b.After == 0:
		for i := range b.Opened + blind {
			add(b.Before, step*(i+1))
		}
		return ports
	}
	way := 1
	if step < 0 {
		way, step = -1, -step
	}
	distance := (int(b.After) - int(b.Before)) * way
	if distance <= 0 {
		return nil
	}
	between := distance/step - 1
	if step <= fineDelta {
		between = distance - 1
	}
	if between < 1 || between > MostPorts {
		return nil
	}
	for i := step; i < distance; i += step {
		add(b.Before, i*way)
	}
	if step <= fineDelta {
		for i := 1; i < distance; i++ {
			if i%step != 0 {
				add(b.Before, i*way)
			}
		}
	}
	return ports
}

// Meeting sockets: where both NATs count and both mappings depend on the other
// side's port, each side has to send to a port that the other's NAT has not
// given yet. Each opens so many sockets that all send to one port, and names
// that port so far ahead that the counter passes it while they do.
const (
	// MeetSockets is how many sockets a side opens, and so how many mappings of
	// others, less one, it bears between its observation and its probes.
	MeetSockets = 16
)

// Meet is the port that one of our next MeetSockets mappings will have: the last
// of them if nothing of others comes between, the first if MeetSockets-1 of
// others do. last is the port that a server saw last. false: it is beyond the
// range of ports.
func Meet(last uint16, delta int) (port uint16, ok bool) {
	p := int(last) + delta*MeetSockets
	if delta == 0 || p < 1024 || p > 65535 {
		return 0, false
	}
	return uint16(p), true
}
