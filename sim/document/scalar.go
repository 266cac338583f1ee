package document

import (
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// IsScalar reports whether the node is text, a number or a yes-or-no value.
func (n *Node) IsScalar() bool { return n.kind == Text || n.kind == Number || n.kind == Bool }

// scalar gives the text of a scalar, or records that the node is none; want says
// what it should be.
func (n *Node) scalar(want string) (string, bool) {
	if n.kind == Absent {
		return "", false
	}
	if !n.IsScalar() {
		n.wrong(want)
		return "", false
	}
	return n.text, true
}

// Text takes the node as text. A number is taken as it is written.
func (n *Node) Text() string {
	switch n.kind {
	case Absent:
		return ""
	case Text, Number:
		return n.text
	case Bool:
		n.wrong("text (put it in quotes)")
		return ""
	}
	n.wrong("text")
	return ""
}

// Texts takes the node as a list of text.
func (n *Node) Texts() []string {
	var all []string
	for _, v := range n.List() {
		all = append(all, v.Text())
	}
	return all
}

// Word takes the node as one of the words. what names them in the message:
// "preset". An absent node gives "".
func (n *Node) Word(what string, words ...string) string {
	s, ok := n.scalar("a " + what)
	if !ok {
		return ""
	}
	if !contains(words, s) {
		n.Errorf("unknown %s %q%s", what, s, Suggest(s, words))
		return ""
	}
	return s
}

// Bool takes the node as true or false.
func (n *Node) Bool() bool {
	if n.kind == Absent {
		return false
	}
	if n.kind != Bool {
		n.wrong("true or false")
		return false
	}
	return strings.EqualFold(n.text, "true")
}

// Int takes the node as a decimal whole number from low to high.
func (n *Node) Int(low, high int) int {
	if n.kind == Absent {
		return 0
	}
	v, err := strconv.Atoi(n.text)
	if n.kind != Number || err != nil {
		n.wrong("a whole number, as 3")
		return 0
	}
	if v < low || v > high {
		n.Errorf("%s: %d is not between %d and %d", n.name, v, low, high)
		return 0
	}
	return v
}

// Float takes the node as a decimal number from low to high.
func (n *Node) Float(low, high float64) float64 {
	if n.kind == Absent {
		return 0
	}
	v, ok := decimal(n.text)
	if n.kind != Number || !ok {
		n.wrong("a number, as 3 or 2.5")
		return 0
	}
	if v < low || v > high {
		n.Errorf("%s: %v is not between %v and %v", n.name, v, low, high)
		return 0
	}
	return v
}

// Port takes the node as a port number, 1 to 65535.
func (n *Node) Port() uint16 { return uint16(n.Int(1, 65535)) }

// Ports takes the node as a list of port numbers. A list that is there is never
// nil.
func (n *Node) Ports() []uint16 {
	if n.kind != List {
		n.List()
		return nil
	}
	all := make([]uint16, 0, len(n.items))
	for _, v := range n.items {
		all = append(all, v.Port())
	}
	return all
}

// Uint64 takes the node as a decimal whole number of 64 bits: a seed.
func (n *Node) Uint64() uint64 {
	if n.kind == Absent {
		return 0
	}
	v, err := strconv.ParseUint(n.text, 10, 64)
	if n.kind != Number || err != nil {
		n.wrong("a whole number, as 3")
		return 0
	}
	return v
}

// Addr takes the node as an IP address.
func (n *Node) Addr() netip.Addr {
	s, ok := n.scalar("an IP address, as 198.18.0.1")
	if !ok {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		n.wrong("an IP address, as 198.18.0.1")
	}
	return a
}

// Duration takes the node as a time that is not negative.
func (n *Node) Duration() time.Duration {
	const want = "a duration, as 20ms, 5s or 1m30s"
	s, ok := n.scalar(want)
	if !ok {
		return 0
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		n.wrong(want)
		return 0
	}
	return d
}

// Probability takes the node as a probability, 0 to 1.
func (n *Node) Probability() float64 {
	return parsed(n, "a probability, as 2% or 0.02", ParseProbability)
}

// Rate takes the node as a capacity in bits a second.
func (n *Node) Rate() uint64 { return parsed(n, "a rate, as 384kbit or 50Mbit", ParseRate) }

// Size takes the node as a number of bytes.
func (n *Node) Size() int { return parsed(n, "a size, as 3000, 64kB or 64KiB", ParseSize) }

// parsed takes the node as a scalar of a form of its own. want says which.
func parsed[T any](n *Node, want string, parse func(string) (T, bool)) T {
	var none T
	s, ok := n.scalar(want)
	if !ok {
		return none
	}
	v, ok := parse(s)
	if !ok {
		n.wrong(want)
		return none
	}
	return v
}
