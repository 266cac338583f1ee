package link_test

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"p2pmodel/sim/link"
)

// shares of packets are compared with what chance allows: six standard deviations
// of the binomial distribution, widened where packets depend on each other.
func near(t rapid.TB, what string, got, n int, p, inflation float64) {
	want, sigma := float64(n)*p, math.Sqrt(float64(n)*p*(1-p)*inflation)
	if math.Abs(float64(got)-want) > 6*sigma+1 {
		t.Errorf("%s: %d of %d, want %.0f ± %.0f", what, got, n, want, 6*sigma)
	}
}

func TestBurstsHaveTheirLossAndLength(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		loss := rapid.Float64Range(0.01, 0.4).Draw(t, "loss")
		length := rapid.Float64Range(1, 20).Draw(t, "length")
		b := link.Bursts(loss, length)
		imp := link.Impairment{Burst: b}
		if err := imp.Validate(); err != nil {
			return // so much loss does not come in so short bursts
		}
		if math.Abs(b.Loss()-loss) > 1e-9 || math.Abs(b.Length()-length) > 1e-9 {
			t.Fatalf("%+v has a loss of %v in bursts of %v, want %v and %v", b, b.Loss(), b.Length(), loss, length)
		}
		const n = 60_000
		s := link.NewShaper(imp, rapid.Uint64().Draw(t, "seed"), 2)
		lost, bursts, before := 0, 0, false
		for range n {
			v := s.Next(start, 100)
			if !v.Deliver {
				if v.Reason != link.Bursty {
					t.Fatalf("lost to %v", v.Reason)
				}
				lost++
				if !before {
					bursts++
				}
			}
			before = !v.Deliver
		}
		near(t, "lost", lost, n, loss, 2*length)
		// Two bursts may touch, where the chain is good for no packet: never here, for
		// a good state lasts a packet at least. Lengths are geometric: their standard
		// deviation is below their mean.
		if bursts > 50 {
			if mean := float64(lost) / float64(bursts); math.Abs(mean-length) > 6*length/math.Sqrt(float64(bursts)) {
				t.Fatalf("bursts are %.2f packets long on average, want %.2f", mean, length)
			}
		}
	})
}

func TestGilbertElliottLosesInBothStates(t *testing.T) {
	const n = 300_000
	b := link.Burst{P: 0.02, R: 0.2, Bad: 0.5, Good: 0.01}
	s := link.NewShaper(link.Impairment{Burst: b}, 11, 12)
	lost := 0
	for range n {
		if !s.Next(start, 100).Deliver {
			lost++
		}
	}
	near(t, "lost", lost, n, b.Loss(), 10)
}

// TestJitterIsCorrelated: the autocorrelation of jitter is what was asked for, one
// packet apart and two; uniform jitter spreads less by it, as netem's does, normal
// jitter does not.
func TestJitterIsCorrelated(t *testing.T) {
	const n = 200_000
	for _, distribution := range []link.Distribution{link.Uniform, link.Normal} {
		for _, c := range []float64{0, 0.25, 0.5, 0.9} {
			s := link.NewShaper(link.Impairment{
				Delay: 100 * ms, Jitter: 20 * ms, Correlation: c, Distribution: distribution, Reorder: true,
			}, 3, 4)
			x := make([]float64, n)
			mean := 0.0
			for i := range x {
				x[i] = float64(s.Next(start, 100).At.Sub(start)-100*ms) / float64(ms)
				mean += x[i] / n
			}
			var variance, one, two float64
			for i := range x {
				variance += (x[i] - mean) * (x[i] - mean) / n
				if i >= 2 {
					one += (x[i] - mean) * (x[i-1] - mean) / n
					two += (x[i] - mean) * (x[i-2] - mean) / n
				}
			}
			want := 20.0
			if distribution == link.Uniform {
				want = 20 / math.Sqrt(3) * math.Sqrt((1-c)/(1+c))
			}
			if sd := math.Sqrt(variance); math.Abs(sd-want) > 0.03*want {
				t.Errorf("%v, correlation %v: standard deviation %.2f ms, want %.2f", distribution, c, sd, want)
			}
			if math.Abs(mean) > 0.5 {
				t.Errorf("%v, correlation %v: mean %.3f ms off", distribution, c, mean)
			}
			if r := one / variance; math.Abs(r-c) > 0.02 {
				t.Errorf("%v, correlation %v: autocorrelation %.3f", distribution, c, r)
			}
			if r := two / variance; math.Abs(r-c*c) > 0.02 {
				t.Errorf("%v, correlation %v: autocorrelation of the next but one %.3f, want %.3f", distribution, c, r, c*c)
			}
		}
	}
}

func TestNormalJitterIsNormal(t *testing.T) {
	const n = 100_000
	s := link.NewShaper(link.Impairment{Delay: 100 * ms, Jitter: 10 * ms, Distribution: link.Normal, Reorder: true}, 5, 6)
	within := [5]int{}
	for range n {
		d := s.Next(start, 100).At.Sub(start) - 100*ms
		for k := 1; k <= 4; k++ {
			if d.Abs() <= time.Duration(k)*10*ms {
				within[k]++
			}
		}
	}
	for k := 1; k <= 4; k++ {
		share := math.Erf(float64(k) / math.Sqrt2)
		if k == 4 {
			share = 1 // it ends there
		}
		near(t, "within "+string(rune('0'+k))+" deviations", within[k], n, share, 1)
	}
	// A delay is never negative.
	s = link.NewShaper(link.Impairment{Delay: 10 * ms, Jitter: 10 * ms, Distribution: link.Normal, Reorder: true}, 5, 6)
	for range 1000 {
		if v := s.Next(start, 100); v.At.Before(start) {
			t.Fatalf("a packet arrives %v before it was sent", start.Sub(v.At))
		}
	}
}

func TestOvertakingKeepsShareGapAndDelays(t *testing.T) {
	for _, c := range []struct {
		overtake link.Overtake
		share    float64 // of all packets
	}{
		{link.Overtake{Share: 0.05}, 0.05},
		{link.Overtake{Share: 0.05, Correlation: 0.5}, 0.05},
		// With a gap of g, one in g-1+1/share packets.
		{link.Overtake{Share: 0.25, Gap: 5}, 1 / (4 + 1/0.25)},
		{link.Overtake{Share: 1, Gap: 3}, 1.0 / 3},
	} {
		const n = 200_000
		s := link.NewShaper(link.Impairment{Delay: 50 * ms, Overtake: c.overtake}, 8, 9)
		early, repeats, before, since := 0, 0, false, c.overtake.Gap
		for i := range n {
			v := s.Next(start.Add(time.Duration(i)*ms), 100)
			switch took := v.At.Sub(start.Add(time.Duration(i) * ms)); {
			case took == 0 && v.Overtook:
				if early++; since < c.overtake.Gap-1 {
					t.Fatalf("%+v: packets %d apart overtook", c.overtake, since+1)
				}
				if since = 0; before {
					repeats++
				}
				before = true
			case took == 50*ms && !v.Overtook:
				since++
				before = false
			default:
				t.Fatalf("%+v: packet %d took %v", c.overtake, i, took)
			}
		}
		near(t, "overtook", early, n, c.share, 3)
		if c.overtake.Correlation > 0 {
			// A packet does what the one before did, or draws anew.
			near(t, "overtook after one that did", repeats, early, c.overtake.Correlation+(1-c.overtake.Correlation)*c.share, 1)
		}
	}
}

func TestCopiesFollowTheirOriginal(t *testing.T) {
	const n = 20_000
	s := link.NewShaper(link.Impairment{Delay: 30 * ms, Duplicate: 0.1, Rate: 8_000_000, Queue: 1 << 20}, 1, 2)
	copies := 0
	for i := range n {
		v := s.Next(start.Add(time.Duration(i)*10*ms), 1000)
		if v.Copy {
			copies++
			if v.CopyAt.Sub(v.At) != ms {
				t.Fatalf("a copy comes %v after its original, want the time that the line takes", v.CopyAt.Sub(v.At))
			}
		}
	}
	near(t, "copies", copies, n, 0.1, 1)
}

func TestCorruptionSpreadsOverThePayload(t *testing.T) {
	const n = 50_000
	s := link.NewShaper(link.Impairment{Corrupt: 0.2}, 1, 2)
	hit, halves := 0, 0
	for range n {
		if v := s.Next(start, 100); v.Corrupt {
			hit++
			if v.Flip >= 1<<63 {
				halves++
			}
		}
	}
	near(t, "corrupt", hit, n, 0.2, 1)
	near(t, "in the second half", halves, hit, 0.5, 1)
}

func TestBlackholeTakesWhatIsLarger(t *testing.T) {
	s := link.NewShaper(link.Impairment{MTU: 1280, Blackhole: true, Loss: 1}, 1, 2)
	if v := s.Next(start, 1281); v.Reason != link.TooLarge {
		t.Errorf("1281 bytes: %v, want mtu, before any loss", v.Reason)
	}
	if v := s.Next(start, 1280); v.Reason != link.Loss {
		t.Errorf("1280 bytes: %v", v.Reason)
	}
	s = link.NewShaper(link.Impairment{MTU: 1280}, 1, 2)
	if v := s.Next(start, 1400); !v.Deliver {
		t.Error("a link that answers does so by its head's own stack, not here")
	}
}

func TestWanderHoldsForItsTime(t *testing.T) {
	s := link.NewShaper(link.Impairment{Delay: 20 * ms, Wander: link.Wander{Delay: 50 * ms, Every: time.Second}, Reorder: false}, 1, 2)
	seen := map[time.Duration]bool{}
	for period := range 50 {
		var held time.Duration
		for i := range 10 {
			at := start.Add(time.Duration(period)*time.Second + time.Duration(i)*90*ms)
			took := s.Next(at, 100).At.Sub(at)
			if took < 20*ms || took > 70*ms {
				t.Fatalf("a delay of %v is not within 20 to 70 ms", took)
			}
			if i > 0 && took != held {
				t.Fatalf("the delay changed from %v to %v within a period", held, took)
			}
			held = took
		}
		seen[held] = true
	}
	if len(seen) < 45 {
		t.Errorf("%d different delays in 50 periods", len(seen))
	}
}

// everything draws impairments with all there is.
func everything() *rapid.Generator[link.Impairment] {
	return rapid.Custom(func(t *rapid.T) link.Impairment {
		i := impairments().Draw(t, "basic")
		i.Duplicate, i.Corrupt = rapid.Float64Range(0, 1).Draw(t, "duplicate"), rapid.Float64Range(0, 1).Draw(t, "corrupt")
		if i.Jitter > 0 {
			i.Correlation = rapid.Float64Range(0, 0.99).Draw(t, "correlation")
			i.Distribution = rapid.SampledFrom([]link.Distribution{link.Uniform, link.Normal}).Draw(t, "distribution")
		}
		if i.Delay > 0 && rapid.Bool().Draw(t, "overtake") {
			i.Overtake = link.Overtake{Share: rapid.Float64Range(0.01, 1).Draw(t, "share"), Gap: rapid.IntRange(0, 9).Draw(t, "gap")}
		}
		if rapid.Bool().Draw(t, "bursts") {
			i.Loss, i.Burst = 0, link.Bursts(0.1, rapid.Float64Range(1, 10).Draw(t, "length"))
		}
		if rapid.Bool().Draw(t, "wander") {
			i.Wander = link.Wander{Delay: 30 * ms, Every: time.Second}
		}
		return i
	})
}

func TestSameSeedSameVerdicts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		imp, seed := everything().Draw(t, "impairment"), rapid.Uint64().Draw(t, "seed")
		if err := imp.Validate(); err != nil {
			t.Fatal(err)
		}
		a, b := link.NewShaper(imp, seed, 1), link.NewShaper(imp, seed, 1)
		now := start
		for range 300 {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(50*ms)).Draw(t, "gap")))
			size := rapid.IntRange(20, 1500).Draw(t, "size")
			v := a.Next(now, size)
			if w := b.Next(now, size); v != w {
				t.Fatalf("%+v and %+v", v, w)
			}
			if v.Deliver && v.At.Before(now) || v.Copy && (!v.Deliver || v.CopyAt.Before(now)) {
				t.Fatalf("%+v arrives before it was sent", v)
			}
		}
	})
}

// TestStreamsAreIndependent: whatever else a link does, the same packets are lost,
// copied, damaged and sent ahead.
func TestStreamsAreIndependent(t *testing.T) {
	alone := map[string]link.Impairment{
		"loss":      {Loss: 0.3},
		"burst":     {Burst: link.Bursts(0.2, 5)},
		"duplicate": {Duplicate: 0.3},
		"corrupt":   {Corrupt: 0.3},
		"overtake":  {Delay: ms, Overtake: link.Overtake{Share: 0.3}},
	}
	with := link.Impairment{Delay: 40 * ms, Jitter: 10 * ms, Correlation: 0.3, Wander: link.Wander{Delay: 5 * ms, Every: time.Second}}
	for name, plain := range alone {
		more := with
		more.Loss, more.Burst, more.Duplicate, more.Corrupt, more.Overtake = plain.Loss, plain.Burst, plain.Duplicate, plain.Corrupt, plain.Overtake
		// Of those two that would hide it, none is added to the other.
		if name != "duplicate" {
			more.Duplicate = 0.1
		}
		if name != "corrupt" {
			more.Corrupt = 0.1
		}
		a, b := link.NewShaper(plain, 5, 6), link.NewShaper(more, 5, 6)
		for i := range 5000 {
			v, w := a.Next(start, 100), b.Next(start, 100)
			same := v.Deliver == w.Deliver && v.Overtook == w.Overtook
			if name == "duplicate" {
				same = v.Copy == w.Copy
			}
			if name == "corrupt" {
				same = v.Corrupt == w.Corrupt && v.Flip == w.Flip
			}
			if !same {
				t.Fatalf("%s: packet %d: %+v alone, %+v with others", name, i, v, w)
			}
		}
	}
}
