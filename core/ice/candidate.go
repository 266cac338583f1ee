package ice

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"p2pmodel/core/punch"
)

// Candidate is a transport address at which a side may be reached, as it is told
// to the other one. It compares with ==.
type Candidate struct {
	// Foundation is equal for candidates of one kind, base and server: 1 to 32
	// characters of letters, digits, + and /.
	Foundation string
	// Component is 1, the only one here.
	Component int
	Kind      punch.Kind
	Addr      netip.AddrPort
	Priority  uint32
	// Related is the base of a reflexive candidate, or what the relay saw of a
	// relayed one: for people who look for mistakes. Zero: not said.
	Related netip.AddrPort
	// Ufrag says to which generation of candidates it belongs (RFC 8838 section
	// 11): "" leaves it open.
	Ufrag string
}

// Errors of parsing.
var (
	// ErrSyntax means that a text is no candidate or description.
	ErrSyntax = errors.New("not as RFC 8839 has it")
	// ErrUnsupported means that a candidate is well-formed and of no use here, so
	// that it is to be left out: over TCP, of another component, or with a name in
	// place of an address, as mDNS candidates have it.
	ErrUnsupported = errors.New("candidate of no use here")
)

const (
	onlyComponent = 1
	maxFoundation = 32
	// maxLine bounds a line of SDP: what is longer is none of ours.
	maxLine = 1024
	// maxPriority is 2³¹−1 (RFC 8445 section 5.1.2).
	maxPriority = 1<<31 - 1
)

// kindNames are the candidate types of RFC 8839 section 5.1.
var kindNames = map[string]punch.Kind{
	"host": punch.Host, "srflx": punch.ServerReflexive, "prflx": punch.PeerReflexive, "relay": punch.Relayed,
}

// String is the candidate as the value of an SDP attribute:
// "candidate:1 1 udp 2130706431 192.0.2.1 40000 typ host".
func (c Candidate) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "candidate:%s %d udp %d %s %d typ %s", c.Foundation, c.Component, c.Priority, c.Addr.Addr(), c.Addr.Port(), c.Kind)
	if c.Related.IsValid() {
		fmt.Fprintf(&b, " raddr %s rport %d", c.Related.Addr(), c.Related.Port())
	}
	if c.Ufrag != "" {
		fmt.Fprintf(&b, " ufrag %s", c.Ufrag)
	}
	return b.String()
}

// ParseCandidate reads a candidate attribute (RFC 8839 section 5.1), with or
// without "a=" or "candidate:" before it. Extensions that it does not know are
// left out. The error is ErrSyntax or ErrUnsupported.
func ParseCandidate(text string) (Candidate, error) {
	line := strings.TrimPrefix(strings.TrimPrefix(strings.TrimSpace(text), "a="), "candidate:")
	if len(line) > maxLine {
		return Candidate{}, fmt.Errorf("%w: a candidate of %d characters", ErrSyntax, len(line))
	}
	c, err := parseCandidate(strings.Fields(line))
	if err != nil {
		return Candidate{}, fmt.Errorf("candidate %q: %w", line, err)
	}
	return c, nil
}

// Where the words of a candidate are that has to have them all.
const (
	wordFoundation = iota
	wordComponent
	wordTransport
	wordPriority
	wordAddress
	wordPort
	wordTyp
	wordKind
	wordExtensions
)

func parseCandidate(words []string) (c Candidate, err error) {
	if len(words) < wordExtensions || words[wordTyp] != "typ" || len(words)%2 != 0 {
		return c, fmt.Errorf("%w: want FOUNDATION COMPONENT TRANSPORT PRIORITY ADDRESS PORT typ KIND and pairs of words", ErrSyntax)
	}
	c.Foundation = words[wordFoundation]
	if len(c.Foundation) > maxFoundation || !iceChars(c.Foundation) {
		return c, fmt.Errorf("%w: foundation %q", ErrSyntax, c.Foundation)
	}
	if c.Component, err = number(words[wordComponent], 1, 256); err != nil {
		return c, fmt.Errorf("component: %w", err)
	}
	priority, err := number(words[wordPriority], 1, maxPriority)
	if err != nil {
		return c, fmt.Errorf("priority: %w", err)
	}
	c.Priority = uint32(priority)
	port, err := number(words[wordPort], 0, 65535)
	if err != nil {
		return c, fmt.Errorf("port: %w", err)
	}
	var known bool
	if c.Kind, known = kindNames[words[wordKind]]; !known {
		return c, fmt.Errorf("%w: kind %q", ErrUnsupported, words[wordKind])
	}
	switch {
	case !strings.EqualFold(words[wordTransport], "udp"):
		return c, fmt.Errorf("%w: transport %s", ErrUnsupported, words[wordTransport])
	case c.Component != onlyComponent:
		return c, fmt.Errorf("%w: component %d", ErrUnsupported, c.Component)
	case port == 0:
		return c, fmt.Errorf("%w: port 0", ErrUnsupported)
	}
	addr, err := netip.ParseAddr(words[wordAddress])
	addr = addr.Unmap()
	if err != nil || addr.Zone() != "" || addr.IsUnspecified() || addr.IsMulticast() {
		return c, fmt.Errorf("%w: address %s", ErrUnsupported, words[wordAddress])
	}
	c.Addr = netip.AddrPortFrom(addr, uint16(port))
	c.extend(words[wordExtensions:])
	return c, nil
}

// extend reads the pairs of words that may follow.
func (c *Candidate) extend(words []string) {
	var related netip.Addr
	port := -1
	for pair := range slices.Chunk(words, 2) {
		switch pair[0] {
		case "raddr":
			related, _ = netip.ParseAddr(pair[1])
		case "rport":
			port, _ = number(pair[1], 0, 65535)
		case "ufrag":
			if len(pair[1]) <= maxCredential && iceChars(pair[1]) {
				c.Ufrag = pair[1]
			}
		}
	}
	if related.IsValid() && related.Zone() == "" && port >= 0 {
		c.Related = netip.AddrPortFrom(related.Unmap(), uint16(port))
	}
}

// number reads a decimal number without a sign.
func number(text string, low, high int) (int, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || int(n) < low || int(n) > high {
		return 0, fmt.Errorf("%w: %q is no number from %d to %d", ErrSyntax, text, low, high)
	}
	return int(n), nil
}

// iceChars reports whether a text is of ice-char only, one at least (RFC 8839
// section 5.1).
func iceChars(text string) bool {
	for _, r := range text {
		if !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '+' || r == '/') {
			return false
		}
	}
	return text != ""
}
