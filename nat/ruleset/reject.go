//go:build linux

package ruleset

import (
	"slices"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// reject is drop, but for that the sender is told: by an ICMP error, or by a RST
// where it is TCP.
func reject(cause Cause, reset bool) []expr.Any {
	e := &expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: icmpProhibited}
	if reset {
		e = &expr.Reject{Type: unix.NFT_REJECT_TCP_RST}
	}
	all := drop(cause)
	all[len(all)-1] = e
	return all
}

// refuseLeaving adds the rule that drops what matches of what comes from inside,
// and tells its sender if the policy says so; refuseEntering does it for what comes
// from outside. Those outside never get a RST: it would have the address of a host
// inside as its source, and leave untranslated.
//
// The kernel answers no packet whose checksum is wrong, no later fragment and no
// ICMP error (RFC 1122 section 3.2.2).
func (f *firewall) refuseLeaving(t *transaction, chain, comment string, cause Cause, matches ...any) {
	if !f.Policy.Reject.Leaving() {
		t.rule(chain, comment, append(matches, drop(cause))...)
		return
	}
	if f.Policy.ResetTCP {
		t.rule(chain, comment, append(slices.Clone(matches), match(ipProtocol, unix.IPPROTO_TCP), reject(cause, true))...)
	}
	t.rule(chain, comment, append(matches, reject(cause, false))...)
}

func (f *firewall) refuseEntering(t *transaction, chain, comment string, cause Cause, matches ...any) {
	if !f.Policy.Reject.Entering() {
		t.rule(chain, comment, append(matches, drop(cause))...)
		return
	}
	t.rule(chain, comment, append(matches, reject(cause, false))...)
}
