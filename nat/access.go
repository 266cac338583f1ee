package nat

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Access is the lists of a Firewall: which flows may begin through it, by host.
// H names a host, or stands for the addresses that a host is seen under; the
// zero H means anyone. The zero Access adds nothing to the Firewall.
//
// A flow is TCP or UDP between two transport addresses. Whoever may begin one is
// answered: packets back, and ICMP errors about it, always pass.
type Access[H any] struct {
	// Allow are holes in a firewall with InboundReplies: flows that may begin
	// outside, towards a host behind.
	Allow []Rule[H]
	// Outbound are the flows that hosts behind may begin towards the outside. It
	// is for firewalls that do not say it with ports of their own (Firewall.KeepsIn).
	Outbound Passage[H]
	// Between are the flows that may begin between two hosts behind whose packets
	// pass the firewall.
	Between Passage[H]
}

// Passage is what may begin in one direction. The zero value lets everything.
type Passage[H any] struct {
	// Closed lets only what the rules name.
	Closed bool
	Rules  []Rule[H]
}

// Rule lets flows begin from one host to certain ports of another.
type Rule[H any] struct {
	From, To H
	// TCP and UDP are destination ports: ranges in ascending order that do not
	// overlap. A rule has at least one range.
	TCP, UDP []PortRange
}

// AllPorts is the range that `all` stands for.
var AllPorts = PortRange{Low: 1, High: 65535}

// The keys of an Access and of a Rule in files.
const (
	AccessKeyAllow    = "allow"
	AccessKeyOutbound = "outbound"
	AccessKeyBetween  = "between"

	RuleKeyFrom = "from"
	RuleKeyTo   = "to"
	RuleKeyTCP  = "tcp"
	RuleKeyUDP  = "udp"
)

// AccessKeys gives the keys of an Access in files.
func AccessKeys() []string { return []string{AccessKeyAllow, AccessKeyOutbound, AccessKeyBetween} }

// RuleKeys gives the keys of a Rule in files.
func RuleKeys() []string { return []string{RuleKeyFrom, RuleKeyTo, RuleKeyTCP, RuleKeyUDP} }

// IsZero reports whether the lists add nothing.
func (a Access[H]) IsZero() bool {
	return len(a.Allow) == 0 && a.Outbound.IsZero() && a.Between.IsZero()
}

// IsZero reports whether everything passes.
func (p Passage[H]) IsZero() bool { return !p.Closed && len(p.Rules) == 0 }

// Side is where a flow that a list speaks of begins or ends.
type Side uint8

// The sides of a firewall.
const (
	Inside Side = iota
	Outside
)

// List is one of the lists of an Access: its key, its rules, and the sides that
// their hosts are on.
type List[H any] struct {
	Key      string
	Rules    []Rule[H]
	From, To Side
}

// Lists gives all lists in the order of AccessKeys.
func (a Access[H]) Lists() []List[H] {
	return []List[H]{
		{AccessKeyAllow, a.Allow, Outside, Inside},
		{AccessKeyOutbound, a.Outbound.Rules, Inside, Outside},
		{AccessKeyBetween, a.Between.Rules, Inside, Inside},
	}
}

// Resolve gives the same lists with other names of hosts: host is asked for each
// From and To, with the side that it is on.
func Resolve[A, B any](a Access[A], host func(name A, side Side) B) Access[B] {
	rules := func(l List[A]) []Rule[B] {
		var out []Rule[B]
		for _, r := range l.Rules {
			out = append(out, Rule[B]{From: host(r.From, l.From), To: host(r.To, l.To), TCP: r.TCP, UDP: r.UDP})
		}
		return out
	}
	l := a.Lists()
	return Access[B]{
		Allow:    rules(l[0]),
		Outbound: Passage[B]{Closed: a.Outbound.Closed, Rules: rules(l[1])},
		Between:  Passage[B]{Closed: a.Between.Closed, Rules: rules(l[2])},
	}
}

// AccessError is a mistake in an Access: in which list, in which of its rules,
// and at which key of that. Rule is -1 and Key empty where it is of the whole.
type AccessError struct {
	List    string
	Rule    int
	Key     string
	Message string
}

// Error names the place and says what is wrong.
func (e AccessError) Error() string {
	place := e.List
	if e.Rule >= 0 {
		place += fmt.Sprintf(", rule %d", e.Rule+1)
	}
	if e.Key != "" {
		place += ": " + e.Key
	}
	return place + ": " + e.Message
}

// Check gives what is wrong with the lists of a firewall, but for what their
// hosts are.
func (a Access[H]) Check(f Firewall) []AccessError {
	var errs []AccessError
	whole := func(list, format string, args ...any) {
		errs = append(errs, AccessError{list, -1, "", fmt.Sprintf(format, args...)})
	}
	if len(a.Allow) > 0 && f.Inbound != InboundReplies {
		whole(AccessKeyAllow, "it opens holes, and nothing is closed: set inbound: replies")
	}
	if !a.Outbound.IsZero() && f.KeepsIn() {
		whole(AccessKeyOutbound, "%s already what may leave; say all of it here", says(f))
	}
	open := func(key string, p Passage[H]) {
		if !p.Closed && len(p.Rules) > 0 {
			whole(key, "it has rules, but is not closed, so that everything passes: set Closed")
		}
	}
	open(AccessKeyOutbound, a.Outbound)
	open(AccessKeyBetween, a.Between)
	for _, l := range a.Lists() {
		for i, r := range l.Rules {
			for _, e := range r.check() {
				e.List, e.Rule = l.Key, i
				errs = append(errs, e)
			}
		}
	}
	return errs
}

// says names the keys of a firewall that say what may leave.
func says(f Firewall) string {
	var keys []string
	for _, key := range f.Items() {
		if key == FirewallKeyUDP || key == FirewallKeyTCP || key == FirewallKeyOther {
			keys = append(keys, key)
		}
	}
	if len(keys) == 1 {
		return keys[0] + " says"
	}
	return strings.Join(keys, ", ") + " say"
}

func (r Rule[H]) check() []AccessError {
	if len(r.TCP)+len(r.UDP) == 0 {
		return []AccessError{{Message: "it names no ports, as in tcp: [443] or udp: all"}}
	}
	return append(checkPorts(RuleKeyTCP, r.TCP), checkPorts(RuleKeyUDP, r.UDP)...)
}

func checkPorts(key string, ranges []PortRange) (errs []AccessError) {
	for i, p := range ranges {
		if !p.valid() {
			errs = append(errs, AccessError{Key: key, Message: fmt.Sprintf("%s is no range of ports; it takes 1 to 65535, the lower first", FormatPort(p))})
		} else if i > 0 && p.Low <= ranges[i-1].High {
			errs = append(errs, AccessError{Key: key, Message: fmt.Sprintf("%s and %s overlap or are not in ascending order", FormatPort(ranges[i-1]), FormatPort(p))})
		}
	}
	return errs
}

// Validate is Check as one error.
func (a Access[H]) Validate(f Firewall) error {
	var errs []error
	for _, e := range a.Check(f) {
		errs = append(errs, e)
	}
	return errors.Join(errs...)
}

// Covers reports whether one of the ranges has the port.
func Covers(ranges []PortRange, port uint16) bool {
	return slices.ContainsFunc(ranges, func(r PortRange) bool { return r.Contains(port) })
}

// ParsePort reads a port or a range of them, as 443 or 49152-65535.
func ParsePort(text string) (PortRange, error) {
	low, high, isRange := strings.Cut(text, "-")
	if !isRange {
		high = low
	}
	r, ok := parseRange(strings.TrimSpace(low) + "-" + strings.TrimSpace(high))
	if !ok {
		return r, fmt.Errorf("%q is not valid; it takes a port or a range of ports, as 443 or 49152-65535", text)
	}
	return r, nil
}

// FormatPort gives what ParsePort reads.
func FormatPort(r PortRange) string {
	if r.Low == r.High {
		return fmt.Sprint(r.Low)
	}
	return r.String()
}

// FormatPorts gives ranges for people, and `all` for all ports.
func FormatPorts(ranges []PortRange) string {
	if len(ranges) == 1 && ranges[0] == AllPorts {
		return "all"
	}
	words := make([]string, len(ranges))
	for i, r := range ranges {
		words[i] = FormatPort(r)
	}
	return strings.Join(words, ", ")
}
