// Package sim describes a laboratory network as a value: hosts, routers with
// NAT and firewall, and links. A fabric (sim/kernel, sim/virtual) builds
// it. The value comes from YAML or from Go and is validated whole before
// anything is built.
//
// The network is a tree: the root is the Internet, a core that drops private
// addresses; routers stand behind the Internet or behind other routers; hosts
// stand behind the Internet or behind routers, by one uplink or by several of
// which one is active.
package sim

import (
	"p2pmodel/nat"
	"p2pmodel/sim/link"
)

// Internet is the name of the root of every lab. No node may be called so.
const Internet = "internet"

// Lab is a whole network.
type Lab struct {
	Hosts   []Host
	Routers []Router
	Links   []Link
}

// Host is a machine on which programs run.
type Host struct {
	Name string
	// Uplinks are the host's ways into the network, at least one. A host of the
	// file that has only `behind:` has one uplink, called DefaultUplink.
	Uplinks []Uplink
	// Active names the uplink in use at the start; empty: the first.
	Active string
	// Addresses is how many addresses each uplink has; 0 means 1. More than one
	// is for servers that need several, as RFC 5780 discovery does.
	Addresses int
	// Firewall is the host's own, which filters what it sends and gets by any
	// uplink; nil: it has none. Its portal must be off.
	Firewall *nat.Firewall
	// Access are the lists of the firewall; they need one. Nil: there are none.
	Access *Access
}

// DefaultUplink is the name of a node's only uplink.
const DefaultUplink = "uplink"

// Uplink is one way of a host into the network.
type Uplink struct {
	Name   string
	Behind string // a router, or Internet (also when empty)
}

// Router is a node that forwards: with NAT, with a firewall, with both, or
// plainly.
type Router struct {
	Name   string
	Behind string // a router, or Internet (also when empty)
	// NAT is the router's behaviour; nil: it does not translate, and what stands
	// behind it has addresses of the realm before it.
	NAT *nat.Behavior
	// Preset is the name that NAT was given by, for people; may be empty.
	Preset   string
	Firewall *nat.Firewall
	// Access are the lists of the firewall, by names of hosts; they need one. Nil:
	// there are none.
	Access *Access
	// Addresses is how many external addresses the router has; 0 means 1.
	Addresses int
}

// Access are lists of what may begin through a firewall. In Allow, From is a host
// outside and To one behind; in Outbound it is the other way round; in Between
// both stand behind. An empty name means anyone there. A host is known by its
// address, so there may be no NAT between it and the router; of a host with
// several uplinks, all count that are on the side in question. Behind a host's own
// firewall is that host alone.
type Access = nat.Access[string]

// Rule is an entry of a list, Passage a list that closes a direction.
type (
	Rule    = nat.Rule[string]
	Passage = nat.Passage[string]
)

// Link sets the impairments of one uplink of a node. Uplinks without a Link are
// perfect.
type Link struct {
	Node   string // host or router
	Uplink string // for hosts with several uplinks; empty: the only one
	// Up is what happens to packets towards the Internet, Down to those from there.
	Up   link.Impairment
	Down link.Impairment
	// Profile is the name that both were given by, for people; may be empty.
	Profile string
}

// LinkID names a link by the node whose uplink it is. Uplink is DefaultUplink
// for nodes that have only one.
type LinkID struct {
	Node, Uplink string
}

// String gives the name that files use: node, or node/uplink where the uplink
// is not the only one.
func (id LinkID) String() string {
	if id.Uplink == "" || id.Uplink == DefaultUplink {
		return id.Node
	}
	return id.Node + "/" + id.Uplink
}
