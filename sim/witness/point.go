package witness

import (
	"cmp"
	"strings"
)

// parentPrefix begins the name of an interface that is the parent's side of
// another node's uplink.
const parentPrefix = "to "

// String gives "node:interface", as captures name their interfaces.
func (p Point) String() string { return p.Node + ":" + p.Interface }

// Compare orders points by node, then by interface, a node's own uplinks first.
func (p Point) Compare(q Point) int {
	if c := cmp.Compare(p.Node, q.Node); c != 0 {
		return c
	}
	own := func(p Point) int {
		if strings.HasPrefix(p.Interface, parentPrefix) {
			return 1
		}
		return 0
	}
	if c := cmp.Compare(own(p), own(q)); c != 0 {
		return c
	}
	return cmp.Compare(p.Interface, q.Interface)
}

func (d Direction) String() string {
	if d == Out {
		return "out"
	}
	return "in"
}
