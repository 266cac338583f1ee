package campaign

import (
	"slices"
	"strconv"
	"strings"

	"p2pmodel/scenarios"
	"p2pmodel/scenarios/trial"
	"p2pmodel/sim/document"
)

// pairsOnly is what is played where a file does not say.
var pairsOnly = []Room{{Players: 2, Weight: all}}

func (p *Population) decodeRooms(n *document.Node) {
	if !n.Exists() {
		p.Rooms, p.RoomsBasis = pairsOnly, Basis{Assumed, "pairs, since the file does not say"}
		return
	}
	m := n.Map(roomKeys...)
	p.RoomsBasis = decodeBasis(m)
	sizes := m.Need("sizes")
	entries := sizes.Map().Entries()
	for _, e := range entries {
		players, err := strconv.Atoi(e.Name())
		if err != nil || players < 2 || players > trial.MaxPlayers {
			e.KeyErrorf("sizes: want a number of players from 2 to %d, got %q", trial.MaxPlayers, e.Name())
		}
		r := Room{players, e.Float(0, all)}
		if e.Kind() == document.Number && r.Weight == 0 {
			e.Errorf("sizes: want a percentage above 0 and to 100, got %s; leave out what is not there", e.Text())
		}
		p.Rooms = append(p.Rooms, r)
	}
	if sizes.Exists() && len(entries) == 0 {
		sizes.Errorf("sizes: say how many play together, as {2: 80, 4: 20}")
	}
	sum(sizes, entries, func(i int) float64 { return p.Rooms[i].Weight })
	slices.SortFunc(p.Rooms, func(a, b Room) int { return a.Players - b.Players })
}

// decodeTechniques reads what is played beside plain punching.
func (p *Population) decodeTechniques(n *document.Node) {
	p.Techniques = []string{scenarios.PlainPunching}
	if !n.Exists() {
		return
	}
	p.Techniques = nil
	for _, w := range n.List() {
		p.Techniques = append(p.Techniques, w.Word("technique", scenarios.Techniques...))
	}
	if len(p.Techniques) == 0 && n.Kind() == document.List {
		n.Errorf("techniques: say what is played, as [plain] or [split, prediction, birthday]")
	}
}

func (p *Population) decodePlay(m document.Map) {
	if n := m.Need("traffic"); n.Exists() {
		t := n.Map(trafficKeys...)
		p.Traffic = Traffic{
			Rate: t.Need("rate").Int(1, maxRate), Size: t.Need("size").Int(trial.MinSize, trial.MaxSize), Basis: decodeBasis(t),
		}
	}
	if n := m.Need("play"); n.Exists() {
		t := n.Map(playKeys...)
		p.Play = Play{
			Session: t.Need("session").Duration(), Hours: t.Need("hours").Float(0, maxHours), Online: t.Need("online").Int(1, maxOnline), Basis: decodeBasis(t),
		}
		if s := t.Get("session"); s.Exists() && (p.Play.Session < shortest || p.Play.Session > maxSession) {
			s.Errorf("session: want %v to %v, got %v", shortest, maxSession, p.Play.Session)
		}
	}
	if n := m.Need("price"); n.Exists() {
		t := n.Map(priceKeys...)
		p.Price = Price{PerGB: t.Need("per-gb").Float(0, maxPrice), Currency: t.Need("currency").Text(), Basis: decodeBasis(t)}
	}
	p.Keepalive = m.Get("keepalive").Duration()
}

func (p *Population) decodeBand(n *document.Node) Band {
	m := n.Map(bandKeys...)
	b := Band{Of: n.Name(), Basis: decodeBasis(m), nat: -1}
	b.Low, b.High = m.Need("low").Float(0, all), m.Need("high").Float(0, all)
	before := n.Errors()
	base, ok := p.resolve(n, &b)
	if !ok || n.Errors() > before {
		return b
	}
	if b.Low > base || b.High < base || b.Low == b.High {
		n.KeyErrorf("%s: the band from %v to %v does not hold what the file has, %v", b.Of, b.Low, b.High, base)
	}
	if b.what == bandNetwork && len(p.Networks) == 1 || b.what == bandNAT && len(p.Networks[b.network].NATs) == 1 {
		n.KeyErrorf("%s: there is nothing beside it that could have the rest", b.Of)
	}
	return b
}

// resolve finds what a band is of; it gives the percentage that the file has.
func (p *Population) resolve(n *document.Node, b *Band) (float64, bool) {
	first, second, below := strings.Cut(b.Of, "/")
	if b.network = p.network(first); b.network < 0 {
		var names []string
		for _, net := range p.Networks {
			names = append(names, net.Name)
		}
		n.KeyErrorf("no network %q%s", first, document.Suggest(first, names))
		return 0, false
	}
	net := p.Networks[b.network]
	if !below {
		return net.Weight, true
	}
	words := []string{"udp-blocked", "same-home"}
	switch second {
	case words[0]:
		b.what = bandBlocked
		if net.Blocked.Share == 0 {
			n.KeyErrorf("%s: the network has no udp-blocked; give it one above 0, so that there are trials of it", b.Of)
		}
		return 100 * net.Blocked.Share, true
	case words[1]:
		b.what = bandSameHome
		if net.SameHome.Share == 0 {
			n.KeyErrorf("%s: the network has no same-home; give it one above 0, so that there are trials of it", b.Of)
		}
		return 100 * net.SameHome.Share, true
	}
	b.what = bandNAT
	for i, t := range net.NATs {
		if t.Name == second {
			b.nat = i
			return t.Weight, true
		}
		words = append(words, t.Name)
	}
	n.KeyErrorf("network %s has no %q%s", first, second, document.Suggest(second, words))
	return 0, false
}

func (p *Population) decodeComparison(n *document.Node) Comparison {
	m := n.Map(compareKeys...)
	var ids []string
	for _, f := range Figures() {
		ids = append(ids, f.ID)
	}
	c := Comparison{
		Figure: m.Need("figure").Word("figure", ids...), Of: m.Get("of").Texts(),
		Derived: m.Get("derived").Bool(), Why: strings.TrimSpace(m.Need("why").Text()),
	}
	if of := m.Get("of"); of.Exists() {
		if len(c.Of) != 2 {
			of.Errorf("of: name the two networks between which it is, as [home, home]")
		}
		for _, v := range of.List() {
			if p.network(v.Text()) < 0 {
				var names []string
				for _, net := range p.Networks {
					names = append(names, net.Name)
				}
				v.Errorf("no network %q%s", v.Text(), document.Suggest(v.Text(), names))
			}
		}
	}
	return c
}
