package trial

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"p2pmodel/nat"
	"p2pmodel/sim"
	"p2pmodel/sim/virtual"
)

// Names of the servers' hosts. Players are called by their numbers.
const (
	rendezvousHost = "rendezvous"
	relayHost      = "relay"
)

// shape is a setting's lab: who is there, and who stands behind whom. Settings
// that differ in behaviours and impairments only have the same one.
type shape struct {
	blueprint *virtual.Blueprint
	// routers and lines say for each router and link of the lab which player of the
	// setting it is taken from, and for a router also which of that player's chain.
	routers []place
	lines   []int
}

type place struct{ player, node int }

// shapes are those that were planned: a campaign draws its players from few kinds
// of chains, again and again.
var (
	shapes     sync.Map // key → *shape
	shapeCount atomic.Int32
)

// maxShapes bounds what is remembered.
const maxShapes = 4096

// shapeOf gives the shape of players.
func shapeOf(players []Player) (*shape, error) {
	key := shapeKey(players)
	if known, ok := shapes.Load(key); ok {
		return known.(*shape), nil
	}
	s := &shape{}
	lab := s.lab(players)
	if err := lab.Validate(); err != nil {
		return nil, err
	}
	var err error
	if s.blueprint, err = virtual.Prepare(lab); err != nil {
		return nil, err
	}
	if shapeCount.Add(1) <= maxShapes {
		shapes.Store(key, s)
	}
	return s, nil
}

// shapeKey is equal for players whose labs are alike but for behaviours and
// impairments.
func shapeKey(players []Player) string {
	var b strings.Builder
	for _, p := range players {
		fmt.Fprintf(&b, "/%d", p.SameHome)
		for _, n := range p.Chain {
			b.WriteByte('>')
			if n.NAT != nil {
				fmt.Fprintf(&b, "n%d", max(n.Addresses, 1))
			}
			if n.Firewall != nil {
				fmt.Fprintf(&b, "f%s", n.Firewall)
			}
		}
	}
	return b.String()
}

// lab makes the lab: the servers first, then the players.
func (s *shape) lab(players []Player) *sim.Lab {
	public := []sim.Uplink{{Name: sim.DefaultUplink}}
	lab := &sim.Lab{Hosts: []sim.Host{{Name: rendezvousHost, Uplinks: public}, {Name: relayHost, Uplinks: public}}}
	homes := map[int]string{} // number of a home → its innermost router
	for i, p := range players {
		host := sim.Host{Name: fmt.Sprintf("player-%d", i)}
		behind, shared := homes[p.SameHome]
		if p.SameHome <= 0 || !shared {
			behind = s.chain(lab, i, p)
			if p.SameHome > 0 {
				homes[p.SameHome] = behind
			}
			line := host.Name
			if behind != "" {
				line = behind
			}
			lab.Links = append(lab.Links, sim.Link{Node: line})
			s.lines = append(s.lines, i)
		}
		host.Uplinks = []sim.Uplink{{Name: sim.DefaultUplink, Behind: behind}}
		lab.Hosts = append(lab.Hosts, host)
	}
	return lab
}

// chain adds a player's routers, the outer ones first, and gives the innermost.
func (s *shape) chain(lab *sim.Lab, player int, p Player) (innermost string) {
	for n := len(p.Chain) - 1; n >= 0; n-- {
		node := p.Chain[n]
		r := sim.Router{Name: fmt.Sprintf("router-%d-%d", player, n), Behind: innermost, Firewall: node.Firewall}
		if node.NAT != nil {
			r.NAT, r.Addresses = &nat.Behavior{}, node.Addresses
		}
		lab.Routers = append(lab.Routers, r)
		s.routers = append(s.routers, place{player, n})
		innermost = r.Name
	}
	return innermost
}

// nats gives the behaviours of the lab's routers, and lines the impairments of its
// links.
func (s *shape) nats(players []Player) []*nat.Behavior {
	all := make([]*nat.Behavior, len(s.routers))
	for i, at := range s.routers {
		all[i] = players[at.player].Chain[at.node].NAT
	}
	return all
}

func (s *shape) links(players []Player) []virtual.Directions {
	all := make([]virtual.Directions, len(s.lines))
	for i, player := range s.lines {
		all[i] = virtual.Directions{Up: players[player].Up, Down: players[player].Down}
	}
	return all
}
