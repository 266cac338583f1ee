//go:build linux

package ruleset

import (
	"fmt"
	"strings"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Cause is why a rule drops packets, in words.
type Cause string

// The causes.
const (
	CauseNoMapping Cause = "no mapping"                   // nobody has the external port
	CauseFiltered  Cause = "filtered"                     // the mapping's filter does not know the sender
	CauseExhausted Cause = "no free port, or full table"  // a new mapping could not be made
	CauseProtocol  Cause = "protocol not translated"      // neither UDP, TCP, nor ICMP
	CauseHairpin   Cause = "hairpin refused"              // the NAT does not turn packets back
	CauseSource    Cause = "source has external address"  // of a packet from inside
	CauseInside    Cause = "destination is inside"        // of a packet from outside
	CauseEntering  Cause = "firewall: may not enter"      //
	CauseLeaving   Cause = "firewall: may not leave"      //
	CauseBetween   Cause = "firewall: not between hosts"  //
	CausePortal    Cause = "firewall: not logged in"      // at its portal
	CauseSpoofed   Cause = "source is not where it lives" // strict reverse path
)

// DropGroup is the number of the netfilter log group to which rules tell what they
// drop, where Config.Log asks for it.
const DropGroup = 4787

// prefixLength is what the kernel keeps of a log prefix, its end included.
const prefixLength = 128

// snapLength is how much of a dropped packet is logged: headers, and what tells
// equal headers apart.
const snapLength = 192

// drop counts what it drops, so that the dump shows where packets died, and logs
// it.
func drop(cause Cause) []expr.Any {
	return []expr.Any{&expr.Counter{}, logs(string(cause)), &expr.Verdict{Kind: expr.VerdictDrop}}
}

// logs tells the log group of a packet.
func logs(prefix string) *expr.Log {
	if len(prefix) >= prefixLength {
		prefix = strings.ToValidUTF8(prefix[:prefixLength-1], "")
	}
	return &expr.Log{
		Key:   1<<unix.NFTA_LOG_GROUP | 1<<unix.NFTA_LOG_PREFIX | 1<<unix.NFTA_LOG_SNAPLEN,
		Group: DropGroup, Snaplen: snapLength, Data: []byte(prefix),
	}
}

// Log is the expression by which rules of others tell DropGroup that they take a
// packet.
func Log(cause Cause, rule string) expr.Any { return logs(string(cause) + separator + rule) }

// Drop counts a packet, tells DropGroup of it, and drops it: for rules of others.
func Drop(cause Cause, rule string) []expr.Any {
	return []expr.Any{&expr.Counter{}, Log(cause, rule), &expr.Verdict{Kind: expr.VerdictDrop}}
}

// separator stands in a log prefix between the cause and the rule.
const separator = "|"

// logged prepares the log expressions of a rule: they say which rule it is, or are
// left out where nothing is to be logged.
func (t *transaction) logged(chain, comment string, exprs []expr.Any) []expr.Any {
	var out []expr.Any
	for _, e := range exprs {
		if l, ok := e.(*expr.Log); ok {
			if !t.log {
				continue
			}
			e = logs(fmt.Sprintf("%s%s%s %s: %s", l.Data, separator, t.table.Name, chain, comment))
		}
		out = append(out, e)
	}
	return out
}

// ParseDrop reads the prefix of a log message: why the packet was dropped, and by
// which rule ("nat udp_inbound: no mapping has the port"). It is false for
// messages that are not of our rules.
func ParseDrop(prefix string) (cause Cause, rule string, ok bool) {
	text, rule, ok := strings.Cut(strings.TrimRight(prefix, "\x00"), separator)
	return Cause(text), rule, ok && text != "" && rule != ""
}
