package trial

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"p2pmodel/nat"
	"p2pmodel/sim/link"
)

// Node is a router between a player and the Internet: a NAT, a firewall, or both;
// the firewall then stands on the inner side.
type Node struct {
	NAT      *nat.Behavior
	Firewall *nat.Firewall
	// Addresses is how many external addresses the NAT has; 0 means 1.
	Addresses int
}

// Player is a peer and what stands between it and the Internet.
type Player struct {
	// Chain are the routers, from the peer outward; empty: a public host.
	Chain []Node
	// SameHome, above 0: players with the same number share the first router of
	// their chains, and with it everything in front of it. Their chains and
	// impairments have to be alike.
	SameHome int
	// Up and Down are what the player's line does to packets, away from it and
	// towards it. The line is the uplink of the first router of the chain, or the
	// player's own where there is none; those of one home share it.
	Up, Down link.Impairment
}

// Setting is what is played.
type Setting struct {
	Players []Player // 2 to MaxPlayers
	// Room: all players join a room of the rendezvous, which introduces each to each.
	// Otherwise of each pair the first player connects to the second one.
	Room bool
	// NoRelay: there is none. RelayOnly: the players do not look for a direct path.
	NoRelay, RelayOnly bool

	// Interval is the time between two datagrams of payload of a player to each other
	// one, from when there is a path; Size is theirs in bytes, MinSize to MaxSize.
	// Zero: DefaultInterval, DefaultSize.
	Interval time.Duration
	Size     int
	// Play is how long payload goes on after all pairs are decided. Rest is how long
	// they stay together after that, with a datagram of payload each RestInterval, so
	// that their mappings live as under payload: what they take besides it does not
	// depend on how dense it is, and a long time costs little.
	Play, Rest time.Duration
	// Limit is how long a pair may take until it is decided, from the introduction
	// on; zero: what the core may need, by the delays of the lines. A pair that is
	// not decided then has the path that its payload took, or none.
	Limit time.Duration

	// Split, Prediction and Birthday: paths may be split, ports foretold, and searched, as
	// packages core/punch and core/peer say. Otherwise it is plain punching.
	Split, Prediction, Birthday bool

	// Load is how many mappings a second others make at the first router of each player's
	// chain, as a Poisson process, 0 to 1000; of NATs whose mappings depend on ports.
	Load float64

	// Strangers have no secret in common that an earlier trial has computed: each
	// computes all of them, as in the world. Otherwise the secret of two keys is
	// computed once and for all trials. The outcome is the same.
	Strangers bool

	// Keepalive, Consent and DeadAfter are those of peer.Config: zero is the core's
	// default, a negative one never.
	Keepalive, Consent, DeadAfter time.Duration
}

const (
	// MaxPlayers is the size of the largest room.
	MaxPlayers = 16
	// DefaultInterval and DefaultSize are a scenario's.
	DefaultInterval = 20 * time.Millisecond
	DefaultSize     = 64
	// MinSize is the least that tells payload from noise; MaxSize is what scenarios
	// send at most.
	MinSize, MaxSize = 32, 1100
	// RestInterval is the time between two datagrams of a player that rests.
	RestInterval = 5 * time.Second

	minInterval = time.Millisecond
	maxLoad     = 1000
)

// ErrSetting is wrapped by what is wrong with a Setting.
var ErrSetting = errors.New("trial: unusable setting")

// validate says what is wrong with a setting.
func (s Setting) validate() error {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("%w: %w", ErrSetting, fmt.Errorf(format, args...))
	}
	switch {
	case len(s.Players) < 2 || len(s.Players) > MaxPlayers:
		return fail("%d players, want 2 to %d", len(s.Players), MaxPlayers)
	case s.Interval < 0 || s.Interval > 0 && s.Interval < minInterval:
		return fail("an interval of %v, want at least %v", s.Interval, minInterval)
	case s.Size != 0 && (s.Size < MinSize || s.Size > MaxSize):
		return fail("datagrams of %d bytes, want %d to %d", s.Size, MinSize, MaxSize)
	case !(s.Load >= 0 && s.Load <= maxLoad):
		return fail("a load of %v mappings a second, want 0 to %d", s.Load, maxLoad)
	case s.Play < 0:
		return fail("play of %v", s.Play)
	case s.Rest < 0:
		return fail("a rest of %v", s.Rest)
	case s.Limit < 0:
		return fail("a limit of %v", s.Limit)
	}
	homes := map[int]int{}
	for i, p := range s.Players {
		for n, node := range p.Chain {
			if err := node.validate(); err != nil {
				return fail("player %d, router %d of its chain: %w", i, n+1, err)
			}
		}
		if err := p.Up.Validate(); err != nil {
			return fail("player %d, its line up: %w", i, err)
		}
		if err := p.Down.Validate(); err != nil {
			return fail("player %d, its line down: %w", i, err)
		}
		if p.SameHome <= 0 {
			continue
		}
		first, known := homes[p.SameHome]
		switch {
		case len(p.Chain) == 0:
			return fail("player %d is in home %d without a router to share", i, p.SameHome)
		case !known:
			homes[p.SameHome] = i
		case !p.lives(s.Players[first]):
			return fail("players %d and %d share home %d, and yet their chains or lines differ", first, i, p.SameHome)
		}
	}
	return nil
}

// lives reports whether two players may share a home.
func (p Player) lives(with Player) bool {
	return p.Up == with.Up && p.Down == with.Down && slices.EqualFunc(p.Chain, with.Chain, Node.equal)
}

func (n Node) equal(o Node) bool {
	switch {
	case n.Addresses != o.Addresses, (n.NAT == nil) != (o.NAT == nil), (n.Firewall == nil) != (o.Firewall == nil):
		return false
	case n.NAT != nil && *n.NAT != *o.NAT:
		return false
	}
	return n.Firewall == nil || reflect.DeepEqual(*n.Firewall, *o.Firewall)
}

func (n Node) validate() error {
	switch {
	case n.NAT == nil && n.Firewall == nil:
		return errors.New("it is neither a NAT nor a firewall")
	case n.Addresses < 0 || n.Addresses > maxAddresses:
		return fmt.Errorf("%d addresses, want 1 to %d", n.Addresses, maxAddresses)
	case n.Addresses > 0 && n.NAT == nil:
		return errors.New("a firewall has no external addresses")
	}
	if n.NAT != nil {
		if err := n.NAT.Validate(); err != nil {
			return err
		}
	}
	if n.Firewall != nil {
		return n.Firewall.Validate()
	}
	return nil
}

// maxAddresses is how many external addresses a NAT may have.
const maxAddresses = 16
