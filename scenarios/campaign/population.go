package campaign

import (
	"fmt"
	"slices"
	"time"

	"p2pmodel/nat"
	"p2pmodel/scenarios/trial"
	"p2pmodel/sim/link"
)

// Assumed is the evidence of what nobody has measured, or what could not be found:
// a figure was needed and was chosen.
const Assumed nat.Evidence = "A"

// Evidences are all grades of evidence, best first.
func Evidences() []nat.Evidence {
	return []nat.Evidence{
		nat.EvidenceRead, nat.EvidenceMeasured, nat.EvidenceSecondary, nat.EvidenceDerived, nat.EvidenceMemory, Assumed,
	}
}

// Basis says how well a figure is known, and from where.
type Basis struct {
	Evidence nat.Evidence `json:"evidence"`
	Source   string       `json:"source"`
}

// Share is a probability with its basis.
type Share struct {
	Share float64 `json:"share"`
	Basis
}

// The bounds of a population, so that what a campaign keeps is bounded.
const (
	MaxNetworks = 12
	MaxNATs     = 12 // of one network
	MaxLinks    = 12 // of one network
	MaxKinds    = 96 // of a population
	MaxChain    = 4
)

// Population is a mix of networks, and what its players do. Weights of what stands
// beside each other sum up to 100.
type Population struct {
	File        string
	ID          string
	Title       string
	Description string
	Networks    []Network
	Rooms       []Room
	RoomsBasis  Basis
	Traffic     Traffic
	Play        Play
	Price       Price
	// Keepalive is peer.Config's; 0: the core's default.
	Keepalive time.Duration
	// Techniques are words of scenarios.Techniques: what is played.
	Techniques  []string
	Sensitivity []Band
	Compare     []Comparison

	text  []byte            // of the file
	files map[string][]byte // that it refers to
	kinds []Kind
}

// plays reports whether a technique is played.
func (p *Population) plays(technique string) bool { return slices.Contains(p.Techniques, technique) }

// Network is where a player's device may be.
type Network struct {
	Name   string
	Title  string
	Weight float64
	Basis
	NATs  []NAT
	Links []Link
	// Blocked is the share of these networks that let no UDP out.
	Blocked Share
	// SameHome is the probability that who plays with a player of such a network sits
	// behind the same first router.
	SameHome Share
}

// NAT is one of the chains that players of a network may be behind.
type NAT struct {
	Name   string
	Weight float64
	Basis
	// Chain from the player outward; empty: a public host.
	Chain []trial.Node
	// Texts say what each router is, as the file does or in full.
	Texts []string
}

// Link is one of the lines that players of a network may have.
type Link struct {
	Name   string
	Weight float64
	Basis
	Up, Down link.Impairment
}

// Room is a number of players that connect each to each; 2 is a pair.
type Room struct {
	Players int
	Weight  float64
}

// Traffic is what a player sends to each other player.
type Traffic struct {
	Rate int // datagrams a second
	Size int // bytes of payload in each
	Basis
}

// Play is how long and how many play.
type Play struct {
	Session time.Duration // from the introduction to the end
	Hours   float64       // that a player plays in a month
	Online  int           // players at once
	Basis
}

// Price is what traffic that leaves the relay costs.
type Price struct {
	PerGB    float64 // of 10⁹ bytes
	Currency string
	Basis
}

// Band is how uncertain a weight is: it may be anything from Low to High, in
// the weight's unit.
type Band struct {
	// Of is NETWORK, NETWORK/NAT, NETWORK/udp-blocked or NETWORK/same-home.
	Of        string
	Low, High float64 // per cent
	Basis

	network, nat int // nat -1: the network itself
	what         bandKind
}

type bandKind uint8

const (
	bandNetwork bandKind = iota
	bandNAT
	bandBlocked
	bandSameHome
)

// Comparison holds a published figure against the campaign.
type Comparison struct {
	Figure string // of Figures
	// Of are the two networks between which the figure is; empty: all pairs.
	Of []string
	// Derived says that a weight of the population was taken from this very figure, so
	// that agreement proves nothing.
	Derived bool
	// Why says what the population and the model cannot know about it.
	Why string
}

// Kind is the finest sort of player that counts are kept of: a network, one of its
// chains, and whether UDP is blocked there.
type Kind struct {
	Network, NAT int
	Blocked      bool
	Name         string
	Chain        []trial.Node
}

// Kinds gives all kinds of players, in the order of the file.
func (p *Population) Kinds() []Kind { return p.kinds }

// blockade is the outermost router of a network that lets no UDP out.
var blockade = func() trial.Node {
	preset, err := nat.FirewallPresetNamed("udp-blocked")
	if err != nil {
		panic(err) // the presets are ours
	}
	return trial.Node{Firewall: &preset.Firewall}
}()

// enumerate fills in the kinds.
func (p *Population) enumerate() {
	p.kinds = nil
	for i, n := range p.Networks {
		for j, t := range n.NATs {
			name := n.Name
			if len(n.NATs) > 1 {
				name += "/" + t.Name
			}
			p.kinds = append(p.kinds, Kind{Network: i, NAT: j, Name: name, Chain: t.Chain})
			if n.Blocked.Share > 0 {
				chain := append(append([]trial.Node(nil), t.Chain...), blockade)
				p.kinds = append(p.kinds, Kind{Network: i, NAT: j, Blocked: true, Name: name + ", UDP blocked", Chain: chain})
			}
		}
	}
}

// network gives the index of a network, or -1.
func (p *Population) network(name string) int {
	for i, n := range p.Networks {
		if n.Name == name {
			return i
		}
	}
	return -1
}

// String names the population.
func (p *Population) String() string { return fmt.Sprintf("%s (%s)", p.ID, p.Title) }
