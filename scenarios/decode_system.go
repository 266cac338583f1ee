package scenarios

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"p2pmodel/sim/document"
)

// Bounds of a load.
const (
	maxLoadRooms = 500
	minLoadEvery = 10 * time.Millisecond
)

// system takes the servers of the shard structure.
func (d *decoder) system(n *document.Node) *System {
	m := n.Map("engines", "directories", "agents", "shards")
	s := &System{
		Engines:     d.hostList(m.Need("engines")),
		Directories: d.hostList(m.Need("directories")),
		Agents:      d.hostList(m.Need("agents")),
	}
	taken := map[string]string{} // UDP servers and shards each have a host of their own
	for _, e := range m.Need("shards").Map().Entries() {
		em := e.Map("host", "rendezvous", "relay", "later")
		k := Shard{
			Name:       e.Name(),
			Host:       d.word(em.Need("host"), "host", d.hosts),
			Rendezvous: d.word(em.Need("rendezvous"), "host", d.hosts),
			Relay:      d.word(em.Need("relay"), "host", d.hosts),
			Later:      em.Get("later").Bool(),
		}
		for _, host := range k.Hosts() {
			if other, double := taken[host]; double && host != "" {
				e.Errorf("host %s has a server of shard %s already; each server of a shard needs a host of its own, so that either can be cut", host, other)
			}
			taken[host] = k.Name
		}
		s.Shards = append(s.Shards, k)
		d.shards = append(d.shards, k.Name)
	}
	if m.Has("shards") && !slices.ContainsFunc(s.Shards, func(k Shard) bool { return !k.Later }) {
		m.Get("shards").Errorf("at least one shard has to run from the start")
	}
	for _, host := range slices.Concat(s.Engines, s.Directories, s.Agents) {
		if shard, double := taken[host]; double && host != "" {
			n.Errorf("host %s runs a server of shard %s; engines, directories and agents need other hosts", host, shard)
		}
	}
	for _, host := range s.Agents {
		if slices.Contains(s.Engines, host) || slices.Contains(s.Directories, host) {
			n.Errorf("host %s runs an agent, which stands in another zone than engines and directories", host)
		}
	}
	return s
}

// hostList takes a list of different hosts.
func (d *decoder) hostList(n *document.Node) []string {
	var out []string
	for _, e := range n.List() {
		host := d.word(e, "host", d.hosts)
		if slices.Contains(out, host) {
			e.Errorf("host %s is there twice", host)
		}
		out = append(out, host)
	}
	if n.Exists() && len(out) == 0 {
		n.Errorf("at least one host is needed")
	}
	return out
}

// decodeRooms takes who plays with whom. Each peer is in one room.
func (d *decoder) decodeRooms(n *document.Node) {
	taken := map[string]string{}
	for _, e := range n.Map().Entries() {
		r := Room{Name: e.Name()}
		for _, p := range e.List() {
			name := d.word(p, "peer", d.peers)
			if other, double := taken[name]; double && name != "" {
				p.Errorf("%s plays in room %s already", name, other)
			}
			taken[name] = r.Name
			r.Peers = append(r.Peers, name)
		}
		if len(r.Peers) < 2 {
			e.Errorf("a room has at least two players")
		}
		d.rooms = append(d.rooms, r.Name)
		d.sc.Rooms = append(d.sc.Rooms, r)
	}
	for _, p := range d.peers {
		if _, plays := taken[p]; !plays && n.Exists() {
			n.Errorf("%s plays in no room", p)
		}
	}
}

func (d *decoder) decodeLoad(n *document.Node) {
	if !n.Exists() {
		return
	}
	m := n.Map("host", "rooms", "every", "fresh")
	l := &ClientLoad{
		Host:  d.word(m.Need("host"), "host", d.hosts),
		Rooms: m.Need("rooms").Int(1, maxLoadRooms),
		Every: m.Need("every").Duration(),
		Fresh: m.Get("fresh").Duration(),
	}
	if l.Every < minLoadEvery {
		m.Get("every").Errorf("a client asks at most once in %v", minLoadEvery)
	}
	if slices.Contains(d.busy, l.Host) {
		m.Get("host").Errorf("host %s runs a server or a peer; the load needs a host of its own", l.Host)
	}
	d.sc.Load = l
}

// systemAction fills the actions that are about servers of a system.
func (d *decoder) systemAction(a *Action, n *document.Node) {
	if d.sc.System == nil {
		n.KeyErrorf("%s is about the servers of a system, which the scenario has not", a.Kind)
		return
	}
	switch a.Kind {
	case ActKill:
		d.servers(a, n, n.Map("host", "shard", "shard-of"))
	case ActStart:
		d.servers(a, n, n.Map("host", "shard"))
	case ActDrain:
		m := n.Map("shard", "shard-of", "deadline")
		d.servers(a, n, m)
		a.For = m.Get("deadline").Duration()
	}
}

// servers takes which servers an action is about.
func (d *decoder) servers(a *Action, n *document.Node, m document.Map) {
	given := 0
	for _, key := range []string{"host", "shard", "shard-of"} {
		if m.Has(key) {
			given++
		}
	}
	if given != 1 {
		n.Errorf("say which servers: by one of the keys host, shard, shard-of")
	}
	a.Target = d.word(m.Get("host"), "host of a server", d.sc.System.Hosts())
	a.Shard = d.word(m.Get("shard"), "shard", d.shards)
	a.ShardOf = d.word(m.Get("shard-of"), "room", d.rooms)
}

// expectSystem takes what is expected of a system.
func (d *decoder) expectSystem(e *Expect, m document.Map) {
	about := []string{"rooms", "resumed", "moved", "load", "scans", "one-owner"}
	if d.sc.System == nil {
		for _, key := range about {
			if m.Has(key) {
				m.Get(key).KeyErrorf("%s is about a system, which the scenario has not", key)
			}
		}
		return
	}
	if node := m.Get("rooms"); node.Exists() {
		e.Rooms = map[string]string{}
		for _, entry := range node.Map(d.rooms...).Entries() {
			e.Rooms[entry.Name()] = entry.Word("state of a room", RoomStayed, RoomMoved)
		}
	}
	e.Resumed = m.Get("resumed").Duration()
	e.Moved = m.Get("moved").Duration()
	if node := m.Get("load"); node.Exists() {
		e.Load = d.loadExpect(node)
	}
	for _, n := range m.Get("scans").List() {
		e.Scans = append(e.Scans, d.scan(n))
	}
	e.OneOwner = m.Get("one-owner").Bool()
}

func (d *decoder) loadExpect(n *document.Node) *LoadExpect {
	if d.sc.Load == nil {
		n.KeyErrorf("the scenario has no load")
	}
	m := n.Map("failed", "slowest", "placed", "only")
	l := &LoadExpect{Slowest: m.Need("slowest").Duration()}
	if node := m.Get("failed"); node.Exists() {
		l.Failed = node.Int(0, maxCount)
	}
	for _, e := range m.Get("placed").List() {
		l.Placed = append(l.Placed, d.word(e, "shard", d.shards))
	}
	l.Only = m.Get("only").Bool()
	if l.Only && len(l.Placed) == 0 {
		m.Get("only").KeyErrorf("only: goes with placed:, the shards that may get new rooms")
	}
	return l
}

// scan takes what a scan has to find: {from: HOST, open: {HOST: [tcp/443]}}.
func (d *decoder) scan(n *document.Node) ScanExpect {
	m := n.Map("from", "open")
	s := ScanExpect{From: d.word(m.Need("from"), "host", d.hosts), Open: map[string][]PortRange{}}
	for _, e := range m.Need("open").Map(d.sc.System.Hosts()...).Entries() {
		for _, p := range e.List() {
			if ports, ok := parsePorts(p.Text()); ok {
				s.Open[e.Name()] = append(s.Open[e.Name()], ports)
			} else {
				p.Errorf("%q are no ports: want tcp/443, udp/3478 or udp/49152-65535", p.Text())
			}
		}
	}
	return s
}

// parsePorts reads PROTOCOL/PORT or PROTOCOL/LOW-HIGH.
func parsePorts(text string) (PortRange, bool) {
	protocol, ports, ok := strings.Cut(text, "/")
	if !ok || protocol != "tcp" && protocol != "udp" {
		return PortRange{}, false
	}
	low, high, ranged := strings.Cut(ports, "-")
	if !ranged {
		high = low
	}
	first, err1 := strconv.ParseUint(low, 10, 16)
	last, err2 := strconv.ParseUint(high, 10, 16)
	if err1 != nil || err2 != nil || first == 0 || last < first {
		return PortRange{}, false
	}
	return PortRange{protocol, uint16(first), uint16(last)}, true
}

// String is the form of files.
func (p PortRange) String() string {
	if p.Low == p.High {
		return p.Protocol + "/" + strconv.Itoa(int(p.Low))
	}
	return p.Protocol + "/" + strconv.Itoa(int(p.Low)) + "-" + strconv.Itoa(int(p.High))
}
