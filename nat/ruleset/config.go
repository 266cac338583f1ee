package ruleset

import (
	"net/netip"

	"p2pmodel/nat"
)

// Config is the NAT of one router.
type Config struct {
	// Router names the router in errors; it may be empty.
	Router string
	// Behavior is what the NAT does.
	Behavior nat.Behavior
	// Outside is the name of the interface that leads outside. Every other
	// interface of the namespace is inside.
	Outside string
	// External are the addresses that the NAT maps to, at least one. All are
	// IPv4, and no other program of the router uses them.
	External []netip.Addr
}
