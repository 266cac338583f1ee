// Package link describes what a link does to packets. It is shared by all
// fabrics: a fabric asks a Shaper what becomes of each packet, so that the same
// seed gives the same losses and delays wherever it runs.
//
// The model follows tc-netem(8) where that has a word for the same thing, so
// that a kernel with netem can do it instead; where it differs, the field says so.
package link

import "time"

// Impairment is what one direction of a link does to packets. The zero value
// does nothing. Two that are equal by == do the same.
type Impairment struct {
	// Delay is the one-way delay.
	Delay time.Duration
	// Jitter spreads Delay: the half-width of a uniform distribution, or the
	// standard deviation of a normal one. At most Delay.
	Jitter time.Duration
	// Correlation is how much of a packet's jitter is that of the packet before, 0
	// to less than 1: x' = (1-c)·u + c·x, as netem does it. Such a sum spreads less
	// than what it is made of, by the factor √((1-c)/(1+c)). Normal jitter keeps
	// its spread: z' = √(1-c²)·n + c·z.
	Correlation float64
	// Distribution is that of the jitter.
	Distribution Distribution
	// Reorder lets packets overtake each other where jitter would make them;
	// otherwise order is kept.
	Reorder bool
	// Wander moves Delay up and down slowly.
	Wander Wander
	// Overtake sends a share of the packets at once.
	Overtake Overtake
	// Loss is the probability that a packet is lost, 0 to 1, independent.
	Loss float64
	// Burst loses packets in bursts; instead of Loss.
	Burst Burst
	// Duplicate is the probability that a packet arrives twice. The copy follows
	// right behind, and has no luck of its own: it is not lost, corrupted or
	// delayed otherwise. (netem's copy is.)
	Duplicate float64
	// Corrupt is the probability that one random bit of a packet's IP payload is
	// flipped. Checksums stay as they are, so that the receiver notices; UDP
	// without a checksum does not.
	Corrupt float64
	// Rate is the capacity in bits a second; 0 is unlimited.
	Rate uint64
	// Trace is a capacity that changes; instead of Rate.
	Trace Trace
	// Queue is the number of bytes that wait for a link with a Rate or Trace before
	// further packets are dropped; 0 means 100 ms worth of it, at least 3000.
	Queue int
	// MTU is the size in bytes of the largest IP packet that passes; 0 is the
	// usual 1500. Larger ones are fragmented or answered by the node at the head of
	// the link (ICMP Fragmentation Needed, RFC 1191), by its own stack.
	MTU int
	// Blackhole loses packets beyond MTU in silence instead, as a path does on
	// which ICMP is filtered (RFC 2923).
	Blackhole bool
}

// IsZero reports whether i changes nothing.
func (i Impairment) IsZero() bool { return i == Impairment{} }

// PerPacket reports whether i treats packets one by one. If not, a segment of
// offload that stands for many may pass as one.
func (i Impairment) PerPacket() bool {
	return i.Loss > 0 || i.Burst != Burst{} || i.Rate > 0 || i.Trace != Trace{} || i.Jitter > 0 ||
		i.Overtake != Overtake{} || i.Duplicate > 0 || i.Corrupt > 0 || i.Blackhole
}

// Distribution is how jitter is spread.
type Distribution uint8

// The distributions. A normal one ends at four standard deviations, as netem's
// table does.
const (
	Uniform Distribution = iota
	Normal
)

// Distributions are the names of all distributions, by value.
func Distributions() []string { return []string{"uniform", "normal"} }

func (d Distribution) String() string {
	if names := Distributions(); int(d) < len(names) {
		return names[d]
	}
	return "unknown"
}

// Wander is a slow change of the delay, as where the path to a satellite is
// assigned anew every 15 s: a part of 0 to Delay, uniform, is added to the delay
// and drawn again Every so often, counted from the link's first packet. netem
// has no word for it.
type Wander struct {
	Delay time.Duration
	Every time.Duration
}

// Overtake sends packets without the delay, past those that wait it out; they
// do queue for a Rate. It is netem's reorder.
type Overtake struct {
	// Share is the probability that a packet which may overtake does.
	Share float64
	// Gap is how far packets that overtake are apart at least: of each Gap, one
	// may. 0 means 1: any.
	Gap int
	// Correlation is the probability that a packet does what the one before it
	// did, so that Share stays what it is. (netem's correlation changes the share.)
	Correlation float64
}

// Burst is the model of Gilbert and Elliott: a link is good or bad, and loses
// packets with a probability of its own in each state. With each packet, after
// its loss was decided, the state may change. It begins good. It is netem's
// `loss gemodel P R 1-H 1-K`.
type Burst struct {
	P    float64 // from good to bad
	R    float64 // from bad to good
	Bad  float64 // loss while bad (1-h)
	Good float64 // loss while good (1-k)
}

// Bursts gives the model that loses this share of all packets in bursts of this
// mean length, in packets: everything while bad, nothing while good, so that
// R = 1/length and P = R·loss/(1-loss). Values for which P would not be a
// probability give a Burst that Validate refuses.
func Bursts(loss, length float64) Burst {
	r := 1 / length
	return Burst{P: r * loss / (1 - loss), R: r, Bad: 1}
}

// Loss is the share of all packets that are lost in the long run.
func (b Burst) Loss() float64 {
	if b.P == 0 {
		return b.Good // never bad
	}
	bad := b.P / (b.P + b.R)
	return bad*b.Bad + (1-bad)*b.Good
}

// Length is how many packets long the link stays bad, on average.
func (b Burst) Length() float64 { return 1 / b.R }

// MeanLoss is the share of all packets that a direction loses in the long run
// by chance: independently or in bursts.
func (i Impairment) MeanLoss() float64 {
	if i.Burst != (Burst{}) {
		return i.Burst.Loss()
	}
	return i.Loss
}
