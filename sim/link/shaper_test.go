package link_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"p2pmodel/sim/link"
)

// start is an arbitrary time; the tests run in simulated time.
var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

const ms = time.Millisecond

func TestShaperTable(t *testing.T) {
	type packet struct {
		at   time.Duration // of entering
		size int
		want time.Duration // of arriving; negative: lost to the queue
	}
	const lost = -1
	for _, c := range []struct {
		name string
		imp  link.Impairment
		in   []packet
	}{
		{"a perfect link changes nothing", link.Impairment{}, []packet{{0, 1500, 0}, {0, 1500, 0}, {7 * ms, 100, 7 * ms}}},
		{"delay is added", link.Impairment{Delay: 30 * ms}, []packet{{0, 1500, 30 * ms}, {1 * ms, 100, 31 * ms}}},
		{"a rate takes time for each packet", link.Impairment{Rate: 8_000_000}, []packet{
			{0, 1000, 1 * ms}, {0, 1000, 2 * ms}, {0, 500, 2500 * time.Microsecond}}},
		{"an idle line saves nothing up", link.Impairment{Rate: 8_000_000}, []packet{
			{0, 1000, 1 * ms}, {50 * ms, 1000, 51 * ms}, {50 * ms, 1000, 52 * ms}}},
		{"delay comes after the line", link.Impairment{Rate: 8_000_000, Delay: 10 * ms}, []packet{
			{0, 1000, 11 * ms}, {0, 1000, 12 * ms}}},
		{"a full queue drops the tail and lets in what fits", link.Impairment{Rate: 8_000_000, Queue: 2500}, []packet{
			{0, 1000, 1 * ms}, {0, 1000, 2 * ms}, {0, 1000, lost}, {0, 500, 2500 * time.Microsecond},
			{0, 1, lost}, {1 * ms, 1000, 3500 * time.Microsecond}}},
		{"an idle line takes a packet larger than its queue", link.Impairment{Rate: 8_000_000, Queue: 100}, []packet{
			{0, 1000, 1 * ms}, {0, 1000, lost}, {1 * ms, 1000, 2 * ms}}},
		{"a queue of 0 is 100 ms of the rate", link.Impairment{Rate: 800_000}, []packet{
			{0, 5000, 50 * ms}, {0, 5000, 100 * ms}, {0, 100, lost}}},
		{"a slow line queues two full packets", link.Impairment{Rate: 8000}, []packet{
			{0, 1500, 1500 * ms}, {0, 1500, 3000 * ms}, {0, 1, lost}}},
		{"no loss at 0, not even of the smallest", link.Impairment{Loss: 0}, []packet{{0, 0, 0}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := link.NewShaper(c.imp, 1, 2)
			for i, p := range c.in {
				v := s.Next(start.Add(p.at), p.size)
				if p.want < 0 {
					if v.Deliver || v.Reason != link.Queue {
						t.Errorf("packet %d: %+v, want a loss to the queue", i, v)
					}
				} else if !v.Deliver || !v.At.Equal(start.Add(p.want)) {
					t.Errorf("packet %d: %+v (%v after the start), want %v", i, v, v.At.Sub(start), p.want)
				}
			}
		})
	}
}

func TestLossIsWithinTheBinomialInterval(t *testing.T) {
	const n = 100_000
	for _, loss := range []float64{0, 0.001, 0.02, 0.5, 0.99, 1} {
		s := link.NewShaper(link.Impairment{Loss: loss}, 7, 9)
		lost := 0.0
		for range n {
			if v := s.Next(start, 100); !v.Deliver {
				if v.Reason != link.Loss {
					t.Fatalf("lost to %v", v.Reason)
				}
				lost++
			}
		}
		if sigma := math.Sqrt(n * loss * (1 - loss)); math.Abs(lost-n*loss) > 4*sigma {
			t.Errorf("loss %v: %v of %d lost, want %v ± %.0f", loss, lost, n, n*loss, 4*sigma)
		}
	}
}

func TestLossesAreIndependent(t *testing.T) {
	s := link.NewShaper(link.Impairment{Loss: 0.2}, 3, 4)
	const n = 100_000
	pairs, before := 0, false
	for range n {
		lost := !s.Next(start, 100).Deliver
		if lost && before {
			pairs++
		}
		before = lost
	}
	// Two in a row: 0.2² of n, with a spread slightly above the binomial's.
	if want := 0.04 * n; math.Abs(float64(pairs)-want) > 6*math.Sqrt(want) {
		t.Errorf("%d losses followed a loss, want %.0f", pairs, want)
	}
}

func TestJitterIsUniform(t *testing.T) {
	const n = 100_000
	s := link.NewShaper(link.Impairment{Delay: 20 * ms, Jitter: 5 * ms, Reorder: true}, 3, 4)
	var bins [10]int
	for range n {
		d := s.Next(start, 100).At.Sub(start)
		if d < 15*ms || d > 25*ms {
			t.Fatalf("a delay of %v is outside 20 ms ± 5 ms", d)
		}
		bins[min(int((d-15*ms)/ms), 9)]++
	}
	for i, got := range bins {
		if math.Abs(float64(got)-n/10) > 5*math.Sqrt(n/10) {
			t.Errorf("%d packets in the %d. of ten parts of the range, want %d", got, i+1, n/10)
		}
	}
}

func TestRateIsExactOverManyPackets(t *testing.T) {
	for _, rate := range []uint64{9600, 384_000, 54_000_000, 999_999_937, 40_000_000_000} {
		s := link.NewShaper(link.Impairment{Rate: rate, Queue: 1 << 30}, 1, 1)
		const n, size = 100_000, 1321
		var last time.Time
		for range n {
			v := s.Next(start, size)
			if !v.Deliver {
				t.Fatal("the queue is not to be full here")
			}
			last = v.At
		}
		want := float64(n*size*8) / float64(rate) * 1e9
		if got := float64(last.Sub(start)); math.Abs(got-want) > 1 {
			t.Errorf("rate %d: %d packets took %.0f ns, want %.0f", rate, n, got, want)
		}
	}
}

func TestChangeKeepsWhatIsOnItsWay(t *testing.T) {
	s := link.NewShaper(link.Impairment{Delay: 100 * ms}, 1, 2)
	s.Next(start, 100)
	s.Change(link.Impairment{Delay: 10 * ms})
	if v := s.Next(start.Add(ms), 100); !v.At.Equal(start.Add(100 * ms)) {
		t.Errorf("a packet after the change arrives %v after the start, want 100ms: behind the one before it", v.At.Sub(start))
	}
	if v := s.Next(start.Add(95*ms), 100); !v.At.Equal(start.Add(105 * ms)) {
		t.Errorf("a later packet arrives %v after the start, want 105ms", v.At.Sub(start))
	}
	s.Change(link.Impairment{})
	if got := s.Impairment(); !got.IsZero() {
		t.Errorf("impairment %+v after a change to none", got)
	}
}

func impairments() *rapid.Generator[link.Impairment] {
	return rapid.Custom(func(t *rapid.T) link.Impairment {
		i := link.Impairment{
			Delay: time.Duration(rapid.Int64Range(0, int64(link.MaxDelay)).Draw(t, "delay")),
			Loss:  rapid.Float64Range(0, 1).Draw(t, "loss"),
		}
		i.Jitter = time.Duration(rapid.Int64Range(0, int64(i.Delay)).Draw(t, "jitter"))
		i.Reorder = i.Jitter > 0 && rapid.Bool().Draw(t, "reorder")
		if rapid.Bool().Draw(t, "limited") {
			i.Rate = rapid.Uint64Range(link.MinRate, link.MaxRate).Draw(t, "rate")
			i.Queue = rapid.IntRange(0, 1<<20).Draw(t, "queue")
		}
		return i
	})
}

func TestShaperProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		imp := impairments().Draw(t, "impairment")
		if err := imp.Validate(); err != nil {
			t.Fatalf("a valid impairment is refused: %v", err)
		}
		seed := rapid.Uint64().Draw(t, "seed")
		a, b := link.NewShaper(imp, seed, 1), link.NewShaper(imp, seed, 1)
		now := start
		var arrivals []time.Time
		for range rapid.IntRange(1, 200).Draw(t, "packets") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(100*ms)).Draw(t, "gap")))
			size := rapid.IntRange(0, 65535).Draw(t, "size")
			v := a.Next(now, size)
			if v != b.Next(now, size) {
				t.Fatal("the same seed gave another verdict")
			}
			switch {
			case !v.Deliver && (v.Reason == link.None || !v.At.IsZero()):
				t.Fatalf("lost without a reason, or with a time: %+v", v)
			case v.Deliver && v.Reason != link.None:
				t.Fatalf("delivered with the reason %v", v.Reason)
			case v.Deliver && v.At.Before(now.Add(imp.Delay-imp.Jitter)):
				t.Fatalf("arrives %v after entering, before its least delay", v.At.Sub(now))
			case v.Deliver && imp.Rate == 0 && imp.Reorder && v.At.After(now.Add(imp.Delay+imp.Jitter)):
				t.Fatalf("arrives %v after entering, beyond its largest delay", v.At.Sub(now))
			}
			if v.Deliver {
				arrivals = append(arrivals, v.At)
			}
		}
		if !imp.Reorder && !slices.IsSortedFunc(arrivals, time.Time.Compare) {
			t.Fatal("packets overtook each other without reorder")
		}
	})
}

func TestChangingOneImpairmentLeavesTheLossesOfAnother(t *testing.T) {
	plain := link.NewShaper(link.Impairment{Loss: 0.3}, 5, 6)
	shaken := link.NewShaper(link.Impairment{Loss: 0.3, Delay: 10 * ms, Jitter: 5 * ms}, 5, 6)
	for i := range 1000 {
		if plain.Next(start, 100).Deliver != shaken.Next(start, 100).Deliver {
			t.Fatalf("packet %d is lost with jitter only", i)
		}
	}
}
