package sim

import (
	"net/netip"
	"time"

	"p2pmodel/nat"
)

// ChangeKind is how a router's NAT was changed.
type ChangeKind string

// The kinds of changes.
const (
	ChangeReboot ChangeKind = "reboot"
	ChangeFlush  ChangeKind = "flush"
	ChangeRebind ChangeKind = "rebind"
	ChangeSwap   ChangeKind = "swap"
)

// Change is a change of a router's NAT by which it lost state.
type Change struct {
	Kind ChangeKind
	// It took effect at a time between Begin and End.
	Begin, End time.Time
	// External are the external addresses since.
	External []netip.Addr
	// Inside are whose mappings were rebound; none: all.
	Inside []netip.Addr
	// Behavior is what was swapped in.
	Behavior nat.Behavior
}
