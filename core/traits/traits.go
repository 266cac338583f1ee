// Package traits learns how the NATs in front of a socket give it ports, and
// says which ports they are about to give.
//
// A NAT that maps every socket to one external port is easy: whoever knows that
// port reaches the socket, once filters are open. One whose mapping depends on
// the destination (RFC 4787 section 4.1) takes another port for each peer, which
// no server ever sees; it can only be inferred. What helps is that every new
// mapping takes its port from the same place. A NAT that counts shows where its
// counter stands in any two answers of servers; one that draws at random shows
// that, too, and then a search is all that is left (package search).
//
// The package has no I/O and no clock. Survey asks servers from one socket;
// Infer concludes from what they saw; Bracket and Meet give ports.
package traits

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// Dependence is what a mapping looks at (RFC 4787 section 4.1).
type Dependence uint8

// The dependences. Unknown is that of a socket that too few servers have seen.
const (
	Unknown Dependence = iota
	EndpointIndependent
	AddressDependent
	AddressAndPortDependent
)

var dependences = [...]string{"unknown", "endpoint-independent", "address-dependent", "address-and-port-dependent"}

// String is RFC 4787's name.
func (d Dependence) String() string { return name(dependences[:], d) }

// Allocation is how a NAT chooses the ports of new mappings (RFC 4787 section 4.2).
type Allocation uint8

// The allocations.
const (
	Unseen Allocation = iota
	// Preserve: a socket's first mapping has the socket's own port. What becomes
	// of its further ones nobody can say.
	Preserve
	// Sequential: each mapping has the port of the one before it, and Delta.
	Sequential
	// Random: no two ports have anything in common.
	Random
)

var allocations = [...]string{"unknown", "preserve", "sequential", "random"}

// String is a word: unknown, preserve, sequential, random.
func (a Allocation) String() string { return name(allocations[:], a) }

func name[T ~uint8](names []string, v T) string {
	if int(v) < len(names) {
		return names[v]
	}
	return fmt.Sprintf("invalid(%d)", uint8(v))
}

// Traits are what is known of the NATs in front of a socket. They are those of
// the whole chain as it looks from the Internet. The zero value is nothing.
type Traits struct {
	Mapping    Dependence
	Allocation Allocation
	// Preserves: the first mapping of a socket had the socket's own port. With
	// Sequential it means that only its second mapping counts.
	Preserves bool
	// Pooled: the NAT has several addresses and one socket got more than one of
	// them. Then a port says nothing without an address, and nothing is foretold.
	Pooled bool
	// Delta is the distance of two successive ports, -MaxDelta to MaxDelta; not 0
	// where Allocation is Sequential.
	Delta int
	// Noise is how many mappings of others came between two of ours at most.
	Noise int
	// Low and High bound the ports that were seen: the spread of a NAT that draws
	// from a block.
	Low, High uint16
}

const (
	// MaxDelta is the largest step that is taken for a sequence. Two ports that
	// are drawn from 64,512 are within it once in 500 times.
	MaxDelta = 64
	// MaxNoise is the most mappings of others, between two of ours, that a
	// sequence is still recognised by.
	MaxNoise = 64
)

// Easy reports whether one external port stands for the socket, whoever asks.
func (t Traits) Easy() bool { return t.Mapping == EndpointIndependent && !t.Pooled }

// Hard reports whether each peer meets the socket at a port of its own.
func (t Traits) Hard() bool { return t.Mapping >= AddressDependent }

// Foreseeable reports whether the port of a new mapping can be foretold.
func (t Traits) Foreseeable() bool {
	return t.Hard() && !t.Pooled && (t.Allocation == Sequential || t.Allocation == Preserve)
}

// String is for people: mapping, allocation, and what is odd.
func (t Traits) String() string {
	s := fmt.Sprintf("%v mapping, %v ports", t.Mapping, t.Allocation)
	if t.Allocation == Sequential {
		s += fmt.Sprintf(" by %+d, %d of others between", t.Delta, t.Noise)
	}
	if t.Preserves && t.Allocation != Preserve {
		s += ", the first preserved"
	}
	if t.Pooled {
		s += ", several addresses"
	}
	return s
}

// Observation is what one server saw of a socket.
type Observation struct {
	// To is the server, Mapped the socket's address as it saw it.
	To, Mapped netip.AddrPort
	// Sent is when it was asked first. Repeated: it was asked again before it
	// answered, so that nobody knows when the mapping was made.
	Sent     time.Time
	Repeated bool
}

// Infer concludes from the observations of one socket, in the order in which the
// servers were asked. local is the socket's own port. It takes servers at two
// addresses to know a mapping (RFC 5780 section 4.3), and three mappings, or two
// that were not preserved, to know a sequence.
func Infer(local uint16, seen []Observation) Traits {
	t := Traits{Mapping: mapping(seen)}
	distinct := byMapping(seen)
	for _, o := range distinct {
		t.Pooled = t.Pooled || o.Mapped.Addr() != distinct[0].Mapped.Addr()
		port := o.Mapped.Port()
		if t.Low == 0 || port < t.Low {
			t.Low = port
		}
		t.High = max(t.High, port)
	}
	if len(distinct) == 0 {
		return t
	}
	t.Preserves = distinct[0].Mapped.Port() == local
	if t.Easy() {
		if t.Preserves {
			t.Allocation = Preserve
		}
		return t
	}
	if !t.Hard() {
		return t
	}
	if t.Preserves {
		distinct = distinct[1:]
	}
	distinct = slices.DeleteFunc(distinct, func(o Observation) bool { return o.Repeated })
	t.sequence(distinct)
	return t
}

// mapping is RFC 5780 section 4.3's conclusion, from whatever servers there were. Where
// nothing shows that ports of one address share a mapping, they are taken to
// have mappings of their own: that is right more often, and safe.
func mapping(seen []Observation) Dependence {
	d := Unknown
	for i, a := range seen {
		for _, b := range seen[:i] {
			same := a.To.Addr() == b.To.Addr()
			switch {
			case a.To == b.To:
			case a.Mapped == b.Mapped && !same:
				return EndpointIndependent
			case a.Mapped == b.Mapped:
				if d == Unknown || d == AddressAndPortDependent {
					d = AddressDependent // so far; the same may hold for other addresses
				}
			case same:
				return AddressAndPortDependent
			case d == Unknown:
				d = AddressAndPortDependent
			}
		}
	}
	if d == AddressDependent && !severalAddresses(seen) {
		return Unknown
	}
	return d
}

func severalAddresses(seen []Observation) bool {
	return slices.ContainsFunc(seen, func(o Observation) bool { return o.To.Addr() != seen[0].To.Addr() })
}

// byMapping keeps the first observation of each mapping, in order of asking.
func byMapping(seen []Observation) (distinct []Observation) {
	for _, o := range seen {
		if !slices.ContainsFunc(distinct, func(d Observation) bool { return d.Mapped == o.Mapped }) {
			distinct = append(distinct, o)
		}
	}
	return distinct
}

// sequence looks for a step that all distances are multiples of.
func (t *Traits) sequence(mappings []Observation) {
	if len(mappings) < 2 {
		if t.Preserves {
			t.Allocation = Preserve
		}
		return
	}
	var steps []int
	for i, o := range mappings[1:] {
		steps = append(steps, int(o.Mapped.Port())-int(mappings[i].Mapped.Port()))
	}
	sign := cmp.Compare(steps[0], 0)
	step := 0
	for _, s := range steps {
		if cmp.Compare(s, 0) != sign || s*sign > MaxDelta*(1+MaxNoise) {
			sign = 0
			break
		}
		step = divisor(step, s*sign)
	}
	smallest := slices.MinFunc(steps, func(a, b int) int { return a*sign - b*sign }) * sign
	switch {
	case sign != 0 && smallest <= MaxDelta && step > 0:
		t.Allocation, t.Delta = Sequential, step*sign
		for _, s := range steps {
			t.Noise = max(t.Noise, s*sign/step-1)
		}
		t.Noise = min(t.Noise, MaxNoise)
	case t.Preserves:
		t.Allocation = Preserve
	default:
		t.Allocation = Random
	}
}

// divisor is the greatest common one; that of 0 and b is b.
func divisor(a, b int) int {
	for a != 0 {
		a, b = b%a, a
	}
	return b
}
