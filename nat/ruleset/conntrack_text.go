//go:build linux

package ruleset

import (
	"fmt"
	"strings"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
)

// masquerade says what a rule of the kernel's NAT does.
func (r *reader) masquerade(e *expr.Masq) {
	text := "masquerade"
	if e.ToPorts {
		text += fmt.Sprintf(" to ports %s-%s", r.get(e.RegProtoMin, 2), r.get(e.RegProtoMax, 2))
	}
	if e.Random {
		text += " random"
	}
	if e.FullyRandom {
		text += " fully-random"
	}
	r.say("%s", text)
}

// flowBitNames gives the names of bits of a flow's state or status.
func flowBitNames(of string, mask []byte) string {
	if len(mask) != 4 {
		return "?"
	}
	bits := binaryutil.NativeEndian.Uint32(mask)
	if of == "ct status" && bits == confirmed {
		return "confirmed"
	}
	var names []string
	for _, b := range []struct {
		bit  uint32
		name string
	}{
		{expr.CtStateBitESTABLISHED, "established"}, {expr.CtStateBitRELATED, "related"},
		{expr.CtStateBitNEW, "new"}, {expr.CtStateBitINVALID, "invalid"},
	} {
		if bits&b.bit != 0 {
			names = append(names, b.name)
		}
	}
	return strings.Join(names, "|")
}
