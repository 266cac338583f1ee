package campaign

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"p2pmodel/nat"
	"p2pmodel/scenarios/trial"
	"p2pmodel/sim"
	"p2pmodel/sim/document"
	"p2pmodel/sim/link"
)

// The keys of a population's parts in files. Decoder and schema have the same.
var (
	populationKeys = []string{
		"id", "title", "description", "networks", "rooms", "traffic", "play", "keepalive", "techniques", "price", "sensitivity", "compare",
	}
	basisKeys   = []string{"evidence", "source"}
	networkKeys = append([]string{"title", "weight", "nats", "links", "udp-blocked", "same-home"}, basisKeys...)
	natKeys     = append([]string{"weight", "chain"}, basisKeys...)
	routerKeys  = []string{"nat", "firewall", "addresses"}
	linkKeys    = append([]string{"weight", "link"}, basisKeys...)
	shareKeys   = append([]string{"share"}, basisKeys...)
	roomKeys    = append([]string{"sizes"}, basisKeys...)
	trafficKeys = append([]string{"rate", "size"}, basisKeys...)
	playKeys    = append([]string{"session", "hours", "online"}, basisKeys...)
	priceKeys   = append([]string{"per-gb", "currency"}, basisKeys...)
	bandKeys    = append([]string{"low", "high"}, basisKeys...)
	compareKeys = []string{"figure", "of", "derived", "why"}
)

const (
	maxRate    = 1000
	maxHours   = 744 // of a month with 31 days
	maxOnline  = 1_000_000_000
	maxPrice   = 1000
	maxSession = 24 * time.Hour
	// all is what weights sum up to, and how far off their sum may be.
	all, tolerance = 100.0, 0.01
)

// namePattern is what names are like.
const namePattern = `^[A-Za-z0-9][A-Za-z0-9_-]*$`

var validName = regexp.MustCompile(namePattern)

// ReadFile reads a population's file.
func ReadFile(file string) (*Population, error) {
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("there is no file %s", file)
	case err != nil:
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > document.MaxSize {
		return nil, fmt.Errorf("%s is no file with a population: it is not a regular file of at most %d bytes", file, document.MaxSize)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return Parse(file, text)
}

// Parse reads a population. The error is of type document.Errors.
func Parse(file string, text []byte) (*Population, error) { return parse(file, text, nil, false) }

// parse is Parse with the files that the text refers to, if they are attached.
func parse(file string, text []byte, files map[string][]byte, attached bool) (*Population, error) {
	doc, err := document.Parse(file, text)
	if err != nil {
		return nil, err
	}
	if attached {
		doc.Attach(files)
	}
	p := decode(doc.Root())
	if err := doc.Err(); err != nil {
		return nil, err
	}
	p.File, p.text, p.files = file, bytes.Clone(text), doc.Referred()
	return p, nil
}

// Digest tells populations apart: it is over the file's text, and the files that it
// refers to.
func (p *Population) Digest() string {
	h := sha256.New()
	fmt.Fprintf(h, "%d\n%s", len(p.text), p.text)
	for _, name := range document.Sorted(p.files) {
		fmt.Fprintf(h, "%q %d\n%s", name, len(p.files[name]), p.files[name])
	}
	return hex.EncodeToString(h.Sum(nil))
}

func decode(root *document.Node) *Population {
	m := root.Map(populationKeys...)
	p := &Population{ID: m.Need("id").Text(), Title: m.Need("title").Text(), Description: strings.TrimSpace(m.Get("description").Text())}
	if id := m.Get("id"); id.Exists() && (!validName.MatchString(p.ID) || len(p.ID) > 64) {
		id.Errorf("id: want letters, digits, - and _, at most 64, got %q", p.ID)
	}
	networks := m.Need("networks")
	entries := networks.Map().Entries()
	if networks.Exists() && (len(entries) == 0 || len(entries) > MaxNetworks) {
		networks.Errorf("networks: %d networks, want 1 to %d", len(entries), MaxNetworks)
		entries = nil
	}
	for _, n := range entries {
		p.Networks = append(p.Networks, decodeNetwork(n))
	}
	sum(networks, entries, func(i int) float64 { return p.Networks[i].Weight })
	if p.enumerate(); len(p.kinds) > MaxKinds {
		networks.Errorf("networks: they make %d kinds of players (each NAT, twice where UDP may be blocked); the most is %d", len(p.kinds), MaxKinds)
	}
	p.decodeRooms(m.Get("rooms"))
	p.decodePlay(m)
	p.decodeTechniques(m.Get("techniques"))
	for _, n := range m.Get("sensitivity").Map().Entries() {
		p.Sensitivity = append(p.Sensitivity, p.decodeBand(n))
	}
	for _, n := range m.Get("compare").List() {
		p.Compare = append(p.Compare, p.decodeComparison(n))
	}
	return p
}

// sum checks that weights are percentages of a whole.
func sum(of *document.Node, entries []*document.Node, weight func(int) float64) {
	if len(entries) == 0 {
		return
	}
	total := 0.0
	for i := range entries {
		w := weight(i)
		if w == 0 { // said already, or not there
			return
		}
		total += w
	}
	if math.Abs(total-all) > tolerance {
		of.KeyErrorf("%s: the weights sum up to %s; they are percentages of a whole: make it 100", of.Name(), strconv.FormatFloat(total, 'f', -1, 64))
	}
}

// decodeBasis reads how well something is known.
func decodeBasis(m document.Map) Basis {
	var letters []string
	for _, e := range Evidences() {
		letters = append(letters, string(e))
	}
	b := Basis{
		Evidence: nat.Evidence(m.Need("evidence").Word("evidence", letters...)),
		Source:   strings.TrimSpace(m.Need("source").Text()),
	}
	if n := m.Get("source"); n.Exists() && b.Source == "" && n.Kind() == document.Text {
		n.Errorf("source: say where it is from; of what was chosen (evidence A) why so")
	}
	return b
}

// weight reads a percentage above 0.
func weight(m document.Map) float64 {
	n := m.Need("weight")
	if w, err := strconv.ParseFloat(n.Text(), 64); n.Kind() == document.Number && err == nil && w <= 0 {
		n.Errorf("weight: want a percentage above 0, got %s; leave out what is not there", n.Text())
		return 0
	}
	return n.Float(0, all)
}

func name(n *document.Node) string {
	if !validName.MatchString(n.Name()) {
		n.KeyErrorf("%q is no name: it begins with a letter or a digit and has letters, digits, - and _", n.Name())
	}
	return n.Name()
}

func decodeNetwork(n *document.Node) Network {
	m := n.Map(networkKeys...)
	net := Network{Name: name(n), Title: m.Need("title").Text(), Weight: weight(m), Basis: decodeBasis(m)}
	nats := m.Need("nats")
	entries := nats.Map().Entries()
	if nats.Exists() && (len(entries) == 0 || len(entries) > MaxNATs) {
		nats.Errorf("nats: %d chains, want 1 to %d", len(entries), MaxNATs)
		entries = nil
	}
	for _, e := range entries {
		net.NATs = append(net.NATs, decodeNAT(e))
	}
	sum(nats, entries, func(i int) float64 { return net.NATs[i].Weight })
	links := m.Need("links")
	entries = links.Map().Entries()
	if links.Exists() && (len(entries) == 0 || len(entries) > MaxLinks) {
		links.Errorf("links: %d links, want 1 to %d", len(entries), MaxLinks)
		entries = nil
	}
	for _, e := range entries {
		net.Links = append(net.Links, decodeLink(e))
	}
	sum(links, entries, func(i int) float64 { return net.Links[i].Weight })
	net.Blocked, net.SameHome = decodeShare(m.Get("udp-blocked")), decodeShare(m.Get("same-home"))
	if net.SameHome.Share > 0 && slices.ContainsFunc(net.NATs, func(t NAT) bool { return len(t.Chain) == 0 }) {
		m.Get("same-home").KeyErrorf("same-home: a public host (an empty chain) has no router to share; make it a network of its own")
	}
	return net
}

func decodeShare(n *document.Node) Share {
	if !n.Exists() {
		return Share{}
	}
	m := n.Map(shareKeys...)
	return Share{m.Need("share").Probability(), decodeBasis(m)}
}

// decodeNAT reads a chain; without one, the entry's name is the NAT's.
func decodeNAT(n *document.Node) NAT {
	m := n.Map(natKeys...)
	t := NAT{Name: name(n), Weight: weight(m), Basis: decodeBasis(m)}
	wrong := []trial.Node{{}} // is not told of as a public host, too
	chain := m.Get("chain")
	if !chain.Exists() {
		preset, err := nat.PresetNamed(n.Name())
		if err != nil {
			n.KeyErrorf("%v; other names need a chain, as in chain: [{nat: linux}]", err)
			t.Chain = wrong
			return t
		}
		b := preset.Behavior
		t.Chain, t.Texts = []trial.Node{{NAT: &b}}, []string{preset.Name}
		return t
	}
	routers := chain.List()
	if len(routers) > MaxChain {
		chain.Errorf("chain: %d routers, want at most %d", len(routers), MaxChain)
		t.Chain = wrong
		return t
	}
	for _, r := range routers {
		node, text := decodeRouter(r)
		t.Chain, t.Texts = append(t.Chain, node), append(t.Texts, text)
	}
	return t
}

func decodeRouter(n *document.Node) (trial.Node, string) {
	var node trial.Node
	var texts []string
	m := n.Map(routerKeys...)
	if r := m.Get("nat"); r.Exists() {
		b, preset := sim.DecodeNAT(r)
		node.NAT = &b
		if preset == "" {
			preset = b.String()
		}
		texts = append(texts, preset)
	}
	if f := sim.DecodeFirewall(m.Get("firewall")); f != nil {
		node.Firewall = f
		texts = append(texts, "firewall "+f.String())
	}
	if a := m.Get("addresses"); a.Exists() {
		if node.Addresses = a.Int(1, sim.MaxAddresses); node.NAT == nil {
			a.KeyErrorf("addresses: only a NAT has external addresses")
		} else if node.Addresses > 1 {
			texts = append(texts, fmt.Sprintf("%d addresses", node.Addresses))
		}
	}
	if node.NAT == nil && node.Firewall == nil && n.Kind() == document.Mapping {
		n.Errorf("a router of a chain has a nat, a firewall or both, as {nat: linux}")
	}
	return node, strings.Join(texts, ", ")
}

// decodeLink reads a line; without a link, the entry's name is the profile's.
func decodeLink(n *document.Node) Link {
	m := n.Map(linkKeys...)
	l := Link{Name: name(n), Weight: weight(m), Basis: decodeBasis(m)}
	if k := m.Get("link"); k.Exists() {
		l.Up, l.Down, _ = sim.DecodeImpairments(k)
		return l
	}
	p, ok := link.ProfileNamed(n.Name())
	if !ok {
		n.KeyErrorf("unknown link profile %q%s; other names need a link, as in link: {delay: 10ms}", n.Name(), document.Suggest(n.Name(), link.ProfileNames()))
	}
	l.Up, l.Down = p.Up, p.Down
	return l
}
