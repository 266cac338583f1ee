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
	// Stood is the part of the silence in which somebody stood still who is no part of
	// what is measured.
	Stood time.Duration

	change time.Time
}

// Span is a part of the time.
type Span struct{ Begin, End time.Time }

// Silence is the length of the longest silence.
func (g Gap) Silence() time.Duration { return g.End.Sub(g.Start) }

// Net is the length of the longest silence without the time in which somebody stood
// still.
func (g Gap) Net() time.Duration { return g.Silence() - g.Stood }

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
	if g.Stood > 0 {
		s += fmt.Sprintf(" (%v of it stood still)", g.Stood.Round(time.Millisecond))
	}
	if g.Recovered {
		s += fmt.Sprintf(", recovered %v after the change", g.Recovery().Round(time.Millisecond))
	} else {
		s += ", not recovered"
	}
	return s + fmt.Sprintf(", %d lost, %d duplicates", g.Lost, g.Duplicates)
}

// Gaps measures, for each direction, what a change at a time did, judged until
// another time: that of the next change, or of the end. Of silences the one is the
// longest that is so without the time in stood: when who speaks or answers was kept
// from it by the machine, and not by the network.
func Gaps(deliveries []Delivery, change, until time.Time, stood ...Span) []Gap {
	stood = joined(stood)
	type direction struct{ from, to string }
	var order []direction
	by := map[direction][]Delivery{}
	for _, d := range deliveries {
		k := direction{d.From, d.To}
		if by[k] == nil {
			order = append(order, k)
			by[k] = make([]Delivery, 0, len(deliveries))
		}
		by[k] = append(by[k], d)
	}
	slices.SortFunc(order, func(a, b direction) int { return slices.Compare([]string{a.from, a.to}, []string{b.from, b.to}) })
	gaps := make([]Gap, 0, len(order))
	for _, k := range order {
		g := gap(by[k], change, until, stood)
		g.From, g.To = k.from, k.to
		gaps = append(gaps, g)
	}
	return gaps
}

// joined are spans in order, none of which overlap.
func joined(spans []Span) []Span {
	spans = slices.Clone(spans)
	slices.SortFunc(spans, func(a, b Span) int { return a.Begin.Compare(b.Begin) })
	out := spans[:0]
	for _, s := range spans {
		if n := len(out); n > 0 && !s.Begin.After(out[n-1].End) {
			if s.End.After(out[n-1].End) {
				out[n-1].End = s.End
			}
			continue
		}
		out = append(out, s)
	}
	return out
}

// within is how much of a time is in joined spans.
func within(spans []Span, start, end time.Time) (d time.Duration) {
	for _, s := range spans {
		from, to := s.Begin, s.End
		if from.Before(start) {
			from = start
		}
		if to.After(end) {
			to = end
		}
		d += max(to.Sub(from), 0)
	}
	return d
}

// gap measures one direction.
func gap(deliveries []Delivery, change, until time.Time, stood []Span) Gap {
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
	silent := func(end time.Time, recovered bool) {
		d := within(stood, at, end)
		if end.Sub(at)-d > g.Net() {
			g.Start, g.End, g.Recovered, g.Stood = at, end, recovered, d
		}
	}
	for _, a := range arrivals {
		silent(a, true)
		at = a
	}
	// Silence at the end counts only as long as somebody spoke.
	silent(lastSent, false)
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
