package link_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"p2pmodel/sim/link"
)

func trace(tb testing.TB, lines ...string) link.Trace {
	tb.Helper()
	t, err := link.ParseTrace("t.trace", []byte(strings.Join(lines, "\n")+"\n"))
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

func TestTraceDrivesTheLine(t *testing.T) {
	type packet struct {
		at   time.Duration
		size int
		want time.Duration // negative: lost to the queue
	}
	const lost = -1
	for _, c := range []struct {
		name  string
		trace link.Trace
		queue int
		in    []packet
	}{
		{"a packet waits for the next opportunity", trace(t, "10", "20"), 0, []packet{{0, 1500, 10 * ms}, {12 * ms, 1500, 20 * ms}}},
		{"at its end a trace begins anew", trace(t, "10", "20"), 0, []packet{
			{0, 1500, 10 * ms}, {0, 1500, 20 * ms}, {0, 1500, 30 * ms}, {0, 1500, 40 * ms}, {105 * ms, 1500, 110 * ms}, {125 * ms, 1500, 130 * ms}}},
		{"an opportunity carries several small packets", trace(t, "10"), 0, []packet{
			{0, 500, 10 * ms}, {0, 500, 10 * ms}, {0, 500, 10 * ms}, {0, 500, 20 * ms}}},
		{"a packet may take parts of two", trace(t, "10", "20"), 0, []packet{
			{0, 1000, 10 * ms}, {0, 1000, 20 * ms}, {0, 1000, 20 * ms}, {0, 1, 30 * ms}}},
		{"what is left of an opportunity is lost when nothing waits", trace(t, "10", "20"), 0, []packet{
			{0, 100, 10 * ms}, {11 * ms, 100, 20 * ms}}},
		{"a packet that comes with an opportunity takes it", trace(t, "10", "20"), 0, []packet{{0, 1500, 10 * ms}, {20 * ms, 100, 20 * ms}}},
		{"equal lines are several opportunities", trace(t, "10", "10", "30"), 0, []packet{
			{0, 1500, 10 * ms}, {0, 1500, 10 * ms}, {0, 1500, 30 * ms}, {0, 1500, 40 * ms}}},
		{"a trace may begin at 0", trace(t, "0", "10"), 0, []packet{{0, 1500, 0}, {0, 1500, 10 * ms}, {0, 1500, 10 * ms}, {0, 1500, 20 * ms}}},
		{"the queue holds what has not left", trace(t, "10"), 3000, []packet{
			{0, 1500, 10 * ms}, {0, 1500, 20 * ms}, {0, 1, lost}, {10 * ms, 1500, 30 * ms}, {10 * ms, 1, lost}}},
		{"years of silence cost nothing", trace(t, "10"), 0, []packet{{0, 1500, 10 * ms}, {20000 * time.Hour, 1500, 20000 * time.Hour}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			imp := link.Impairment{Trace: c.trace, Queue: c.queue}
			if err := imp.Validate(); err != nil {
				t.Fatal(err)
			}
			s := link.NewShaper(imp, 1, 2)
			for i, p := range c.in {
				v := s.Next(start.Add(p.at), p.size)
				if p.want < 0 {
					if v.Reason != link.Queue {
						t.Errorf("packet %d: %+v, want a loss to the queue", i, v)
					}
				} else if !v.Deliver || !v.At.Equal(start.Add(p.want)) {
					t.Errorf("packet %d arrives %v after the start (%v), want %v", i, v.At.Sub(start), v.Reason, p.want)
				}
			}
		})
	}
}

// mmLink is Mahimahi's LinkQueue::rationalize, read off its source: opportunities
// one after another, each serving the head of the queue.
func mmLink(times []int, sizes []int) (departures []int) {
	left := 0
	for turn, next := 0, 0; len(sizes) > 0; {
		at := turn*times[len(times)-1] + times[next]
		if next++; next == len(times) {
			turn, next = turn+1, 0
		}
		for budget := link.OpportunitySize; budget > 0 && len(sizes) > 0; {
			if left == 0 {
				left = sizes[0]
			}
			n := min(budget, left)
			budget, left = budget-n, left-n
			if left == 0 {
				departures, sizes = append(departures, at), sizes[1:]
			}
		}
	}
	return departures
}

func TestTraceIsAsMahimahi(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		times := rapid.SliceOfN(rapid.IntRange(0, 50), 1, 40).Draw(t, "steps")
		for i := range times[1:] {
			times[i+1] += times[i]
		}
		if times[len(times)-1] == 0 {
			times[len(times)-1] = 1
		}
		var text strings.Builder
		for _, ms := range times {
			text.WriteString(itoa(ms) + "\n")
		}
		tr, err := link.ParseTrace("t", []byte(text.String()))
		if err != nil {
			t.Fatal(err)
		}
		sizes := rapid.SliceOfN(rapid.IntRange(1, 1500), 1, 100).Draw(t, "sizes")
		s := link.NewShaper(link.Impairment{Trace: tr, Queue: 1 << 20}, 1, 2)
		for i, want := range mmLink(times, sizes) {
			if got := s.Next(start, sizes[i]).At.Sub(start); got != time.Duration(want)*ms {
				t.Fatalf("packet %d leaves at %v, mm-link has %d ms", i, got, want)
			}
		}
		if back, err := link.ParseTrace("t", tr.Text()); err != nil || back != tr {
			t.Fatalf("written and read it is another: %v", err)
		}
		data, err := tr.MarshalBinary()
		var back link.Trace
		if err != nil || back.UnmarshalBinary(data) != nil || back != tr {
			t.Fatal("marshalled it is another")
		}
	})
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + string(rune('0'+n%10))
}

func TestMistakesInTraces(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "t.trace:1: the trace is empty"},
		{"10\n\n20\n", "t.trace:2: an empty line"},
		{"10\nx\n", `t.trace:2: "x" is no time in whole milliseconds`},
		{"10\n+5\n", `t.trace:2: "+5" is no time`},
		{"-1\n", `t.trace:1: "-1" is no time`},
		{"1.5\n", `t.trace:1: "1.5" is no time`},
		{"10\n9\n", "t.trace:2: 9 ms come after 10 ms"},
		{"0\n0\n", "t.trace:2: the trace ends at 0 ms"},
		{"99999999999\n", "t.trace:1: 99999999999 ms are more than 49 days"},
	} {
		_, err := link.ParseTrace("t.trace", []byte(c.text))
		var e *link.TraceError
		if !errors.As(err, &e) || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%q: %v, want %s", c.text, err, c.want)
		}
	}
	if tr := trace(t, "1", "2", "2", "3\r", "4"); tr.Len() != 5 || tr.Period() != 4*ms || tr.Rate() != 15_000_000 {
		t.Errorf("%d opportunities in %v: %d bit/s", tr.Len(), tr.Period(), tr.Rate())
	}
}

// FuzzParseTrace: whatever the file, nothing panics, errors have a line of it, and
// a trace that is read drives a link and is written as it was.
func FuzzParseTrace(f *testing.F) {
	for _, seed := range []string{"", "1\n", "0\n0\n7\n", "10\n20\n20\n", "5\n4\n", "x", "\n", "1\r\n2\r\n", "4294967295\n", "18446744073709551616\n", " 1\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		tr, err := link.ParseTrace("f", text)
		if err != nil {
			var e *link.TraceError
			if !errors.As(err, &e) || e.Line < 1 || e.Line > strings.Count(string(text), "\n")+1 {
				t.Fatalf("%v has no line of the file", err)
			}
			return
		}
		back, err := link.ParseTrace("f", tr.Text())
		if err != nil || back != tr {
			t.Fatalf("written as %q: %v", tr.Text(), err)
		}
		s := link.NewShaper(link.Impairment{Trace: tr}, 1, 2)
		last := start
		for i := range 20 {
			if v := s.Next(start.Add(time.Duration(i)*ms), 1500); v.Deliver && v.At.Before(last) {
				t.Fatalf("packet %d leaves before the one in front of it", i)
			} else if v.Deliver {
				last = v.At
			}
		}
	})
}
