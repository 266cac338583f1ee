package sim

import (
	"p2pmodel/nat"
	"p2pmodel/sim/document"
)

// DecodeNAT decodes a NAT as a router has it: a preset, the text form, or a
// mapping of axes. It is for files that name NATs outside of a lab. The second
// result is the preset's name, for people; empty if there was none. What is
// wrong is recorded in the node's document.
func DecodeNAT(n *document.Node) (nat.Behavior, string) {
	b, preset := decodeNAT(n)
	if b == nil {
		return nat.Behavior{}, preset
	}
	return *b, preset
}
