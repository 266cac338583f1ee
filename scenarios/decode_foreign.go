package scenarios

import (
	"p2pmodel/sim/document"
)

// foreign reports whether peers of a file are programs.
func foreign(m document.Map) bool {
	peers := m.Get("peers")
	if peers.Kind() != document.Mapping {
		return false
	}
	for _, e := range peers.Map().Entries() {
		if e.Kind() == document.Mapping && e.Map().Has("run") {
			return true
		}
	}
	return false
}

// peerProgram takes the program that stands in a peer's place; nil: ours does.
func (d *decoder) peerProgram(n *document.Node, p Peer, m document.Map) *Program {
	for _, name := range d.programs {
		if name == p.Name {
			n.KeyErrorf("%q is the name of a program and of a peer", name)
		}
	}
	for _, other := range d.sc.Programs {
		if other.Host == p.Host && p.Host != "" {
			n.Errorf("host %s runs the program %s; the witness tells peers apart by their hosts, so that a peer needs one of its own", p.Host, other.Name)
		}
	}
	if m.Has("run") {
		return d.program(p.Name, p.Host, m)
	}
	for _, key := range programKeys {
		if m.Has(key) {
			m.Get(key).KeyErrorf("%s: goes with run:, for a peer that is a program", key)
		}
	}
	return nil
}

// samePeers makes sure that peers are all ours or all programs, and that nothing is
// said of payload that is not ours.
func (d *decoder) samePeers(m document.Map) {
	programs := 0
	for _, p := range d.sc.Peers {
		if p.Program != nil {
			programs++
		}
	}
	if programs > 0 && programs < len(d.sc.Peers) {
		m.Get("peers").KeyErrorf("either all peers are programs or none is: ours speaks to its like only")
	}
	if programs == 0 {
		return
	}
	if d.sc.System != nil {
		m.Get("peers").KeyErrorf("the players of a system are ours: no peer of it is a program")
	}
	if m.Has("room") {
		m.Get("room").KeyErrorf("room: is for our own peers; say connect: [[a, b]], the pairs that are judged")
	}
	if s := m.Get("settings"); s.Kind() == document.Mapping {
		d.ofOurPeers(s.Map(), "keepalive", "interval", "size")
	}
}

// programsOnly makes sure that a scenario without peers says nothing of them.
func (d *decoder) programsOnly(m document.Map) {
	for _, key := range []string{"connect", "room", "techniques"} {
		if m.Has(key) {
			m.Get(key).KeyErrorf("%s: goes with peers:", key)
		}
	}
	if s := m.Get("settings"); s.Kind() == document.Mapping {
		d.ofOurPeers(s.Map(), "keepalive", "interval", "size")
	}
}

// ours reports whether the scenario has peers of ours.
func (d *decoder) ours() bool { return len(d.sc.Peers) > 0 && !d.sc.Foreign() }

// ofOurPeers refuses keys that are about our own peers, where there are none.
func (d *decoder) ofOurPeers(m document.Map, keys ...string) {
	for _, key := range keys {
		if m.Has(key) && !d.ours() {
			m.Get(key).KeyErrorf("%s: is about our own peers, which the scenario has not: what programs send is their business", key)
		}
	}
}

// needOurPeers refuses an action that tells peers what to send.
func (d *decoder) needOurPeers(n *document.Node) {
	if !d.ours() {
		n.KeyErrorf("%s tells our own peers what to send, which the scenario has not", n.Name())
	}
}

// ourServer refuses an action about a server that is a program or is not there.
func (d *decoder) ourServer(n *document.Node, server string) {
	host := d.sc.Rendezvous
	if server != ServerRendezvous {
		host = d.sc.RelayHost(server)
	}
	switch p := d.sc.ServedBy(server); {
	case server == "":
	case host == "":
		n.Errorf("the scenario has no %s", server)
	case p != nil:
		n.Errorf("the %s is the program %s, and not ours", server, p.Name)
	}
}

// expectWithoutPeers makes sure that an expectation says something, and nothing of
// peers where there are none.
func (d *decoder) expectWithoutPeers(n *document.Node, m document.Map) {
	if d.sc.Foreign() && m.Has("reaches") {
		m.Get("reaches").KeyErrorf("reaches: is for payload that our own peers send alone")
	}
	if len(d.sc.Peers) > 0 || len(d.sc.Programs) == 0 {
		return
	}
	for _, key := range []string{"path", "mapping", "reaches"} {
		if m.Has(key) {
			m.Get(key).KeyErrorf("%s: is about peers, which the scenario has not", key)
		}
	}
	if n.Exists() && !m.Has("exits") && !m.Has("output") && !m.Has("delivered") {
		n.KeyErrorf("say what has to come of the programs: exits:, output: or delivered:")
	}
}
