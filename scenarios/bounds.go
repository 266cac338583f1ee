package scenarios

import (
	"fmt"
	"time"

	"p2pmodel/sim/document"
)

// Disturbance is a kind of thing that an exploration does to a lab.
type Disturbance string

// The disturbances. All end by themselves.
const (
	DisturbLoss      Disturbance = "loss"      // a link loses packets, each by itself
	DisturbBurst     Disturbance = "burst"     // a link loses packets in bursts
	DisturbReorder   Disturbance = "reorder"   // packets of a link overtake each other
	DisturbDuplicate Disturbance = "duplicate" // packets of a link arrive twice
	DisturbCorrupt   Disturbance = "corrupt"   // bits of a link's packets are flipped
	DisturbDelay     Disturbance = "delay"     // a link is slower, and less steady
	DisturbRate      Disturbance = "rate"      // a link has a rate and a queue
	DisturbCut       Disturbance = "cut"       // a link is cut
	DisturbBlackhole Disturbance = "blackhole" // a link swallows one direction
	DisturbFlap      Disturbance = "flap"      // a link fails again and again
	DisturbFlush     Disturbance = "flush"     // a NAT forgets its mappings
	DisturbRebind    Disturbance = "rebind"    // a NAT gives other ports
	DisturbReboot    Disturbance = "reboot"    // a NAT reboots, perhaps with another address
	DisturbMove      Disturbance = "move"      // a host takes another uplink
	DisturbPartition Disturbance = "partition" // peers and a server are parted
	DisturbRestrict  Disturbance = "restrict"  // a peer reaches the servers only
	DisturbStop      Disturbance = "stop"      // a server is down and starts anew
	DisturbRestart   Disturbance = "restart"   // a peer dies and starts anew
	DisturbQuiet     Disturbance = "quiet"     // no payload
	DisturbInject    Disturbance = "inject"    // a stranger sends what is not its own
)

// Disturbances are all kinds.
func Disturbances() []Disturbance {
	return []Disturbance{
		DisturbLoss, DisturbBurst, DisturbReorder, DisturbDuplicate, DisturbCorrupt, DisturbDelay, DisturbRate,
		DisturbCut, DisturbBlackhole, DisturbFlap, DisturbFlush, DisturbRebind, DisturbReboot, DisturbMove,
		DisturbPartition, DisturbRestrict, DisturbStop, DisturbRestart, DisturbQuiet, DisturbInject,
	}
}

// DisturbanceWords are their names.
func DisturbanceWords() (words []string) {
	for _, k := range Disturbances() {
		words = append(words, string(k))
	}
	return words
}

// Bounds are what an exploration may draw.
type Bounds struct {
	// Last is the time in which disturbances begin, Most how many there are at most,
	// Outage how long one of them lasts at most.
	Last   time.Duration
	Most   int
	Outage time.Duration
	// Loss is the largest share of packets that a link loses, Delay the longest delay
	// that it gets besides its own, Rate the lowest rate in bit/s.
	Loss  float64
	Delay time.Duration
	Rate  uint64
	// Kinds are what may be done; of these, what the lab allows is.
	Kinds []Disturbance
}

// Limits of Bounds: sessions give up after five minutes without a path, and a
// schedule shall not end one.
const (
	MaxExploreLast   = 2 * time.Minute
	MaxExploreOutage = time.Minute
	MaxExploreMost   = 100
	MaxExploreDelay  = 2 * time.Second
	MinExploreRate   = 8_000
)

// DefaultBounds are those of files and command lines that say nothing.
func DefaultBounds() Bounds {
	return Bounds{
		Last: 15 * time.Second, Most: 6, Outage: 5 * time.Second,
		Loss: 0.5, Delay: 200 * time.Millisecond, Rate: 64_000, Kinds: Disturbances(),
	}
}

// Problems are what is wrong with bounds, by key.
func (b Bounds) Problems() map[string]string {
	found := map[string]string{}
	span := func(key string, d, most time.Duration) {
		if d < 10*time.Millisecond || d > most {
			found[key] = fmt.Sprintf("%s: %v is not between 10ms and %v", key, d, most)
		}
	}
	span("last", b.Last, MaxExploreLast)
	span("outage", b.Outage, MaxExploreOutage)
	if b.Delay < 0 || b.Delay > MaxExploreDelay {
		found["delay"] = fmt.Sprintf("delay: %v is not between 0 and %v", b.Delay, MaxExploreDelay)
	}
	if b.Most < 1 || b.Most > MaxExploreMost {
		found["most"] = fmt.Sprintf("most: %d is not between 1 and %d", b.Most, MaxExploreMost)
	}
	if b.Loss < 0 || b.Loss > 1 {
		found["loss"] = "loss: a share is between 0 and 100%"
	}
	if b.Rate < MinExploreRate {
		found["rate"] = fmt.Sprintf("rate: less than %s leaves no room for checks", document.FormatRate(MinExploreRate))
	}
	if len(b.Kinds) == 0 {
		found["kinds"] = "kinds: nothing is left that could be done"
	}
	return found
}

var boundsKeys = []string{"last", "most", "outage", "loss", "delay", "rate", "kinds"}

// bounds reads the key explore.
func (d *decoder) bounds(n *document.Node) *Bounds {
	if !n.Exists() {
		return nil
	}
	b := DefaultBounds()
	m := n.Map(boundsKeys...)
	before := n.Errors()
	for _, v := range m.Entries() {
		switch v.Name() {
		case "last":
			b.Last = v.Duration()
		case "most":
			b.Most = v.Int(1, MaxExploreMost)
		case "outage":
			b.Outage = v.Duration()
		case "loss":
			b.Loss = v.Probability()
		case "delay":
			b.Delay = v.Duration()
		case "rate":
			b.Rate = v.Rate()
		case "kinds":
			b.Kinds = nil
			for _, k := range v.List() {
				b.Kinds = append(b.Kinds, Disturbance(k.Word("disturbance", DisturbanceWords()...)))
			}
		}
	}
	if n.Errors() == before {
		for _, key := range boundsKeys {
			if text, bad := b.Problems()[key]; bad {
				m.Get(key).Errorf("%s", text)
			}
		}
	}
	return &b
}

func boundsSchema() document.Schema {
	b := DefaultBounds()
	return document.ObjectSchema(map[string]document.Schema{
		"last":   document.DurationSchema().Default(b.Last.String()).Described("The time in which disturbances begin, 10ms to 2m."),
		"most":   document.IntSchema(1, MaxExploreMost).Default(b.Most).Described("How many disturbances there are at most."),
		"outage": document.DurationSchema().Default(b.Outage.String()).Described("How long a disturbance lasts at most, 10ms to 1m."),
		"loss":   document.ProbabilitySchema().Default(document.FormatProbability(b.Loss)).Described("The largest share of packets that a link loses."),
		"delay":  document.DurationSchema().Default(b.Delay.String()).Described("The longest delay that a link gets besides its own, to 2s."),
		"rate":   document.RateSchema().Default(document.FormatRate(b.Rate)).Described("The lowest rate that a link gets, 8kbit at least."),
		"kinds": document.ListSchema(document.WordSchema(DisturbanceWords()...)).Default(DisturbanceWords()).
			Described("What may be done; of these, what the lab allows is."),
	}).Described("What natlab explore may do to this scenario; a run of it goes without.")
}
