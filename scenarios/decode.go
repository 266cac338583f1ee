package scenarios

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"p2pmodel/sim"
	"p2pmodel/sim/document"
)

// Bounds of what a file may ask for, so that a slip of the keyboard does not
// run for a day or fill a disk.
const (
	minInterval = time.Millisecond
	maxInterval = 10 * time.Second
	minSize     = 32 // below, payload could not be told apart from noise
	maxSize     = 1100
	maxScale    = 1000
	maxCount    = 10000
)

var idPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// keys of a scenario file, in the order in which people write them.
var scenarioKeys = []string{
	"id", "title", "description", "lab", "rendezvous", "relay", "relays", "tls", "system", "programs", "peers", "connect", "room", "rooms", "load",
	"techniques", "settings", "phases", "expect", "events", "controls", "explore",
}

// Load reads and checks a scenario file. Everything wrong with it is in the
// error, as document.Errors.
func Load(path string) (*Scenario, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read scenario: %w", err)
	}
	return Parse(path, data)
}

// Parse is Load for text that is at hand; file is for messages, and says what
// paths in it are relative to.
func Parse(file string, data []byte) (*Scenario, error) { return parse(file, data, nil) }

// ParseAttached is Parse for a file whose referred files are at hand as well, by
// the names that it has for them: none is read from disk.
func ParseAttached(file string, data []byte, referred map[string][]byte) (*Scenario, error) {
	return parse(file, data, func(doc *document.Document) { doc.Attach(referred) })
}

func parse(file string, data []byte, prepare func(*document.Document)) (*Scenario, error) {
	doc, err := document.Parse(file, data)
	if err != nil {
		return nil, err
	}
	if prepare != nil {
		prepare(doc)
	}
	d := decoder{sc: &Scenario{File: file, Folder: filepath.Dir(file), Source: bytes.Clone(data)}}
	d.scenario(doc.Root())
	if err := doc.Err(); err != nil {
		return nil, err
	}
	d.sc.Referred = doc.Referred()
	return d.sc, nil
}

// decoder fills a scenario from its file. The lab comes first, since the rest
// names its parts.
type decoder struct {
	sc      *Scenario
	hosts   []string
	routers []string
	links   []string
	peers   []string
	shards  []string
	rooms   []string
	busy    []string // hosts that run a server or a peer

	programs []string
	vars     []string // that programs have of the lab, once they were asked for
}

func (d *decoder) scenario(root *document.Node) {
	m := root.Map(scenarioKeys...)
	sc := d.sc
	sc.ID = m.Need("id").Text()
	if sc.ID != "" && !idPattern.MatchString(sc.ID) {
		m.Get("id").Errorf("an id is letters, digits, dots, - and _, at most 64: %q is not", sc.ID)
	}
	sc.Title = m.Need("title").Text()
	sc.Description = m.Get("description").Text()

	d.settings(m.Get("settings"))
	before := root.Errors()
	sc.Lab = sim.DecodeLab(m.Need("lab"))
	if sc.Lab == nil || root.Errors() != before {
		return // names cannot be checked against a lab that is not sound
	}
	d.scaledLab(m.Get("lab"))
	d.names()
	d.decodeServers(m)
	d.decodePrograms(m.Get("programs"))
	if len(sc.Programs) > 0 && !m.Has("peers") {
		d.programsOnly(m)
	} else {
		d.decodePeers(m.Need("peers"))
		d.samePeers(m)
	}
	if sc.System != nil {
		d.decodeRooms(m.Need("rooms"))
		d.decodeLoad(m.Get("load"))
	} else if len(sc.Peers) > 0 {
		d.decodeConnections(m)
	}
	sc.Techniques = []string{PlainPunching}
	if node := m.Get("techniques"); node.Exists() {
		sc.Techniques = d.techniques(node)
	}

	switch {
	case m.Has("phases") && m.Has("expect"):
		m.Get("expect").KeyErrorf("a scenario with phases has an expectation in each phase, and none of its own")
	case m.Has("phases"):
		sc.Phases = d.phases(m.Get("phases"))
	default:
		sc.Phases = []Phase{{Name: "connect", Expect: d.expect(m.Need("expect"))}}
	}
	sc.Events = d.timeline(m.Get("events"), sc.Phases)
	for _, n := range m.Get("controls").List() {
		sc.Controls = append(sc.Controls, d.control(n))
	}
	d.uniqueControls(m.Get("controls"))
	sc.Explore = d.bounds(m.Get("explore"))
}

// decodeServers takes the servers: a rendezvous and a relay of the lab's own, or
// the shard structure.
func (d *decoder) decodeServers(m document.Map) {
	sc := d.sc
	if m.Has("system") {
		for _, key := range []string{"rendezvous", "relay", "relays", "tls", "connect", "room", "programs"} {
			if m.Has(key) {
				m.Get(key).KeyErrorf("%s: goes without system:, whose shards have servers and whose players meet in rooms:", key)
			}
		}
		sc.System = d.system(m.Get("system"))
		d.busy = sc.System.Hosts()
		return
	}
	for _, key := range []string{"rooms", "load"} {
		if m.Has(key) {
			m.Get(key).KeyErrorf("%s: goes with system: only", key)
		}
	}
	if ours := m.Has("peers") && !foreign(m); ours {
		m.Need("rendezvous")
	}
	sc.Rendezvous = d.word(m.Get("rendezvous"), "host", d.hosts)
	d.decodeRelays(m)
	d.decodeTLS(m)
	d.busy = append(sc.RelayHosts(), sc.Rendezvous)
}

func (d *decoder) names() {
	for _, h := range d.sc.Lab.Hosts {
		d.hosts = append(d.hosts, h.Name)
		if len(h.Uplinks) == 1 {
			d.links = append(d.links, h.Name)
			continue
		}
		for _, u := range h.Uplinks {
			d.links = append(d.links, h.Name+"/"+u.Name)
		}
	}
	for _, r := range d.sc.Lab.Routers {
		d.routers = append(d.routers, r.Name)
		d.links = append(d.links, r.Name)
	}
}

// word takes a node as one of the words, which may be none at all.
func (d *decoder) word(n *document.Node, what string, words []string) string {
	if !n.Exists() {
		return ""
	}
	if len(words) == 0 {
		n.Errorf("the scenario has no %s", what)
		return ""
	}
	return n.Word(what, words...)
}

func (d *decoder) decodePeers(n *document.Node) {
	taken := map[string]string{}
	for _, e := range n.Map().Entries() {
		m := e.Map(append([]string{"host"}, programKeys...)...)
		p := Peer{Name: e.Name(), Host: d.word(m.Need("host"), "host", d.hosts)}
		p.Program = d.peerProgram(e, p, m)
		if other, double := taken[p.Host]; double && p.Host != "" {
			e.Errorf("peers %s and %s both run on host %s; the witness tells peers apart by their hosts", other, p.Name, p.Host)
		}
		taken[p.Host] = p.Name
		if p.Host != "" && slices.Contains(d.busy, p.Host) {
			e.Errorf("host %s runs a server; a peer needs a host of its own", p.Host)
		}
		d.peers = append(d.peers, p.Name)
		d.sc.Peers = append(d.sc.Peers, p)
	}
	if n.Exists() && len(d.sc.Peers) < 2 {
		n.Errorf("a scenario needs at least two peers")
	}
	for host := range taken {
		d.busy = append(d.busy, host)
	}
}

func (d *decoder) decodeConnections(m document.Map) {
	sc := d.sc
	sc.Room = m.Get("room").Text()
	if m.Has("room") == m.Has("connect") {
		m.Get("peers").KeyErrorf("say how the peers meet: either connect: [[a, b], …] or room: NAME")
		return
	}
	seen := map[[2]string]bool{}
	for _, n := range m.Get("connect").List() {
		ends := n.List()
		if len(ends) != 2 {
			n.Errorf("a connection is a pair of peers, [a, b]")
			continue
		}
		pair := [2]string{d.word(ends[0], "peer", d.peers), d.word(ends[1], "peer", d.peers)}
		switch {
		case pair[0] == "" || pair[1] == "":
		case pair[0] == pair[1]:
			n.Errorf("%s cannot connect to itself", pair[0])
		case seen[pair] || seen[[2]string{pair[1], pair[0]}]:
			n.Errorf("%s and %s are connected twice", pair[0], pair[1])
		default:
			seen[pair] = true
			sc.Connect = append(sc.Connect, pair)
		}
	}
	if m.Has("connect") && len(m.Get("connect").List()) == 0 {
		m.Get("connect").Errorf("at least one pair must connect")
	}
}

func (d *decoder) settings(n *document.Node) {
	s := &d.sc.Settings
	*s = Settings{Interval: DefaultInterval, Size: DefaultSize, Scale: 1}
	m := n.Map("keepalive", "interval", "size", "scale")
	s.Keepalive = d.keepalive(m.Get("keepalive"))
	if node := m.Get("interval"); node.Exists() {
		if s.Interval = node.Duration(); s.Interval < minInterval || s.Interval > maxInterval {
			node.Errorf("an interval is %v to %v", minInterval, maxInterval)
		}
	}
	if node := m.Get("size"); node.Exists() {
		s.Size = node.Int(minSize, maxSize)
	}
	if node := m.Get("scale"); node.Exists() {
		s.Scale = node.Int(1, maxScale)
	}
}

// keepalive takes a duration or the word off.
func (d *decoder) keepalive(n *document.Node) time.Duration {
	if !n.Exists() {
		return 0
	}
	if n.Kind() == document.Bool { // YAML 1.1 readers take off for false
		if !n.Bool() {
			return Off
		}
		n.Errorf("a keepalive is a duration such as 15s, or off")
		return 0
	}
	if n.IsScalar() && n.Text() == "off" {
		return Off
	}
	v := n.Duration()
	if v == 0 {
		n.Errorf("a keepalive is a duration such as 15s, or off")
	}
	return v
}

// techniques reads what peers may use.
func (d *decoder) techniques(n *document.Node) (words []string) {
	for _, w := range n.List() {
		words = append(words, d.word(w, "technique", Techniques))
	}
	return words
}

func (d *decoder) control(n *document.Node) Control {
	m := n.Map("name", "why", "nats", "open", "before", "techniques", "keepalive", "phases", "events", "expect")
	d.ofOurPeers(m, "keepalive")
	d.ofOurPeers(m, "techniques")
	c := Control{
		Name:      m.Need("name").Text(),
		Why:       m.Need("why").Text(),
		Keepalive: d.keepalive(m.Get("keepalive")),
	}
	if node := m.Get("nats"); node.Exists() {
		c.NATs = map[string]NATChoice{}
		for _, e := range node.Map(d.routers...).Entries() {
			b, preset := d.decodeNAT(e)
			c.NATs[e.Name()] = NATChoice{Behavior: b, Preset: preset}
		}
	}
	if node := m.Get("techniques"); node.Exists() {
		c.Techniques = d.techniques(node)
	}
	for _, e := range m.Get("open").List() {
		node := d.word(e, "router or host", append(slices.Clone(d.routers), d.hosts...))
		if r, ok := d.sc.Lab.Router(node); ok && r.Firewall == nil {
			e.Errorf("router %s has no firewall", node)
		} else if h, ok := d.sc.Lab.Host(node); ok && h.Firewall == nil {
			e.Errorf("host %s has no firewall", node)
		}
		c.Open = append(c.Open, node)
	}
	c.Before = d.actions(m.Get("before"), beforeKinds)
	switch {
	case m.Has("phases") && m.Has("expect"):
		m.Get("expect").KeyErrorf("a control with phases has an expectation in each phase, and none of its own")
	case m.Has("phases"):
		c.Phases = d.phases(m.Get("phases"))
	default:
		c.Expect = d.expect(m.Need("expect"))
		if len(d.sc.Phases) > 1 {
			n.Errorf("this scenario has several phases: say which phases the control has")
		}
	}
	if c.OwnEvents = m.Has("events"); c.OwnEvents {
		phases := c.Phases
		if phases == nil {
			phases = d.sc.Phases
		}
		c.Events = d.timeline(m.Get("events"), phases)
	}
	return c
}

func (d *decoder) uniqueControls(n *document.Node) {
	names := map[string]bool{}
	for _, e := range n.List() {
		name := e.Find("name")
		if names[name.Text()] {
			name.Errorf("two controls are called %q", name.Text())
		}
		names[name.Text()] = true
	}
}
