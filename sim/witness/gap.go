package witness

import (
	"fmt"
	"slices"
	"time"
)

// Gap is what a change of the network did to the payload of one direction.
type Gap struct {
	From, To string
	// Start and End bound the longest silence: the arrivals before and after it.
	// Start is the change itself if nothing had arrived before. Without Recovered,
	// End is when the last datagram was sent into the silence.
	Start, End time.Time
	Recovered  bool
	// Lost and Duplicates count datagrams sent after the last one that arrived
	// before the change: those that never arrived, and arrivals beyond the first
	// of the same bytes.
	Lost, Duplicates int

	change time.Time
}

// Silence is the length of the longest silence.
func (g Gap) Silence() time.Duration { return g.End.Sub(g.Start) }

// Recovery is the time from the change to the first arrival after the longest
// silence; 0 if there was none.
func (g Gap) Recovery() time.Duration {
	if !g.Recovered {
		return 0
	}
	return max(g.End.Sub(g.change), 0)
}

func (g Gap) String() string {
	s := fmt.Sprintf("%s → %s: silent for %v", g.From, g.To, g.Silence().Round(time.Millisecond))
	if g.Recovered {
		s += fmt.Sprintf(", recovered %v after the change", g.Recovery().Round(time.Millisecond))
	} else {
		s += ", not recovered"
	}
	return s + fmt.Sprintf(", %d lost, %d duplicates", g.Lost, g.Duplicates)
}

// Gaps measures, for each direction, what a change at a time did, judged until
// another time: that of the next change, or of the end.
func Gaps(deliveries []Delivery, change, until time.Time) []Gap {
	type direction struct{ from, to string }
	var order []direction
	by := map[direction][]Delivery{}
	for _, d := range deliveries {
		k := direction{d.From, d.To}
		if by[k] == nil {
			order = append(order, k)
		}
		by[k] = append(by[k], d)
	}
	slices.SortFunc(order, func(a, b direction) int { return slices.Compare([]string{a.from, a.to}, []string{b.from, b.to}) })
	gaps := make([]Gap, 0, len(order))
	for _, k := range order {
		g := gap(by[k], change, until)
		g.From, g.To = k.from, k.to
		gaps = append(gaps, g)
	}
	return gaps
}

// gap measures one direction.
func gap(deliveries []Delivery, change, until time.Time) Gap {
	g := Gap{change: change}
	var arrivals []time.Time
	var before, lastSent, sentBefore time.Time // the last arrival before the change; the last sending; that of the former
	for _, d := range deliveries {
		if d.Sent.Before(until) && d.Sent.After(lastSent) {
			lastSent = d.Sent
		}
		switch {
		case d.Lost():
		case !d.Arrived.After(change):
			if d.Arrived.After(before) {
				before = d.Arrived
			}
			if d.Sent.After(sentBefore) {
				sentBefore = d.Sent
			}
		case d.Arrived.Before(until):
			arrivals = append(arrivals, d.Arrived)
		}
	}
	start := before
	if start.IsZero() {
		start = change
	}
	slices.SortFunc(arrivals, time.Time.Compare)
	g.Start, g.End = start, start
	at := start
	for _, a := range arrivals {
		if a.Sub(at) > g.Silence() {
			g.Start, g.End, g.Recovered = at, a, true
		}
		at = a
	}
	// Silence at the end counts only as long as somebody spoke.
	if lastSent.Sub(at) > g.Silence() {
		g.Start, g.End, g.Recovered = at, lastSent, false
	}
	firsts := map[Digest]time.Time{}
	for _, d := range deliveries {
		if t, ok := firsts[d.Digest]; !d.Lost() && (!ok || d.Arrived.Before(t)) {
			firsts[d.Digest] = d.Arrived
		}
	}
	for _, d := range deliveries {
		if !d.Sent.After(sentBefore) || !d.Sent.Before(until) {
			continue
		}
		if d.Lost() {
			g.Lost++
			continue
		}
		g.Duplicates += d.Copies - 1
		if d.Arrived.After(firsts[d.Digest]) {
			g.Duplicates++
		}
	}
	return g
}
