package matchmaking

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

var epoch = time.Unix(1_800_000_000, 0)

// solo is one player who wants a match of so many.
func solo(session string, rating, players int, latency map[string]uint32) Group {
	return Group{ID: session, Members: []Player{{Session: session, Player: session, Rating: rating}}, Latency: latency, Players: players}
}

func party(id string, players int, ratings ...int) Group {
	g := Group{ID: id, Players: players}
	for i, r := range ratings {
		g.Members = append(g.Members, Player{Session: fmt.Sprintf("%s%d", id, i), Rating: r})
	}
	return g
}

func add(t testing.TB, q *Queue, at time.Duration, groups ...Group) {
	t.Helper()
	for _, g := range groups {
		if err := q.Add(epoch.Add(at), g); err != nil {
			t.Fatalf("add %s after %v: %v", g.ID, at, err)
		}
	}
}

// told are matches as text: "a b, c d".
func told(matches []Match) string {
	var all []string
	for _, m := range matches {
		all = append(all, ids(m.Groups))
	}
	return strings.Join(all, ", ")
}

func ids(groups []Group) string {
	var list []string
	for _, g := range groups {
		list = append(list, g.ID)
	}
	return strings.Join(list, " ")
}

func near40(ms uint32) map[string]uint32 { return map[string]uint32{"eu": ms, "us": ms + 100} }

// TestWhoMeetsWhom: groups come at the seconds given by their order, and matches
// are as said, at the first second at which they are possible.
func TestWhoMeetsWhom(t *testing.T) {
	eu, us := map[string]uint32{"eu": 20, "us": 140}, map[string]uint32{"us": 30, "eu": 150}
	for _, row := range []struct {
		name   string
		groups []Group
		want   string
		at     time.Duration
	}{
		{"equals", []Group{solo("a", 1000, 2, nil), solo("b", 1050, 2, nil)}, "a b", 0},
		{"out of the first window", []Group{solo("a", 1000, 2, nil), solo("b", 1051, 2, nil)}, "a b", time.Second},
		{"far apart", []Group{solo("a", 1000, 2, nil), solo("b", 2500, 2, nil)}, "a b", 58 * time.Second},
		{"worlds apart", []Group{solo("a", 0, 2, nil), solo("b", 1<<30, 2, nil)}, "a b", time.Minute},
		{"other sizes", []Group{solo("a", 1000, 2, nil), solo("b", 1000, 3, nil)}, "", 0},
		{"three", []Group{solo("a", 1000, 3, nil), solo("b", 1030, 3, nil), solo("c", 990, 3, nil)}, "a b c", 0},
		{"two of three do not fit", []Group{solo("a", 1000, 3, nil), solo("b", 1040, 3, nil), solo("c", 960, 3, nil)}, "a b c", 2 * time.Second},
		{"who waits longest comes first", []Group{solo("a", 1000, 2, nil), solo("b", 1040, 2, nil), solo("c", 1001, 2, nil)}, "a b", 0},
		{"a party and two", []Group{party("p", 4, 1000, 1100), solo("a", 1050, 4, nil), solo("b", 1060, 4, nil)}, "p a b", 0},
		{"parties stay together", []Group{party("p", 3, 1000, 1000), party("q", 3, 1000, 1000), solo("a", 1000, 3, nil)}, "p a", 0},
		{"a party that is complete", []Group{party("p", 2, 1000, 5000)}, "p", 0},
		{"sizes that do not add up", []Group{party("p", 4, 1, 1, 1), party("q", 4, 1, 1, 1), party("r", 4, 1, 1)}, "", 0},
		{"the second choice adds up", []Group{party("p", 5, 1, 1, 1), solo("a", 1, 5, nil), party("q", 5, 1, 1), solo("c", 1, 7, nil)}, "p q", 0},
		{"near each other", []Group{solo("a", 0, 2, eu), solo("b", 0, 2, near40(40))}, "a b", 0},
		{"an ocean between them", []Group{solo("a", 0, 2, eu), solo("b", 0, 2, us)}, "a b", 10 * time.Second}, // 140 ms in us
		{"no common region", []Group{solo("a", 0, 2, map[string]uint32{"eu": 1}), solo("b", 0, 2, map[string]uint32{"us": 1})}, "a b", time.Minute},
		{"nothing measured", []Group{solo("a", 0, 2, eu), solo("b", 0, 2, nil)}, "a b", 0},
		{"the worst of all counts", []Group{solo("a", 0, 3, eu), solo("b", 0, 3, nil), solo("c", 0, 3, us)}, "a b c", 10 * time.Second},
		{"slow everywhere", []Group{solo("a", 0, 2, near40(301)), solo("b", 0, 2, eu)}, "a b", time.Minute},
	} {
		q := New(0)
		add(t, q, 0, row.groups...)
		got, at := "", time.Duration(0)
		for ; at <= 2*time.Minute && got == ""; at += time.Second {
			matches, failed := q.Advance(epoch.Add(at))
			got = told(matches)
			if len(failed) > 0 {
				t.Errorf("%s: gave up on %s after %v", row.name, ids(failed), at)
			}
		}
		if at -= time.Second; got != row.want || got != "" && at != row.at {
			t.Errorf("%s: %q after %v, want %q after %v", row.name, got, at, row.want, row.at)
		}
	}
}

func TestBothWindowsCount(t *testing.T) {
	q := New(0)
	add(t, q, 0, solo("old", 1000, 2, nil))
	q.Advance(epoch)
	add(t, q, 2*time.Minute, solo("young", 1500, 2, nil))
	for at := 2 * time.Minute; ; at += time.Second {
		if matches, _ := q.Advance(epoch.Add(at)); len(matches) > 0 {
			// Who has waited for two minutes takes anybody; the other one waits
			// until its own window has grown to 500.
			if want := 2*time.Minute + 18*time.Second; at != want || matches[0].Waited != at {
				t.Errorf("matched after %v, told %v, want %v", at, matches[0].Waited, want)
			}
			return
		}
		if at > 3*time.Minute {
			t.Fatal("no match")
		}
	}
}

func TestTheMatchSaysWhere(t *testing.T) {
	q := New(0)
	add(t, q, 0, solo("a", 0, 3, map[string]uint32{"eu": 20, "us": 50, "ap": 9}), solo("b", 0, 3, map[string]uint32{"us": 55, "eu": 59}), solo("c", 0, 3, nil))
	matches, _ := q.Advance(epoch)
	if len(matches) != 1 || matches[0].Region != "us" || matches[0].Latency != 55 {
		t.Errorf("%+v, want one match in us at 55 ms", matches)
	}
	if len(q.regions.byName) != 0 || len(q.bySession) != 0 || q.Len() != 0 {
		t.Errorf("left over: %v, %v, %d", q.regions.byName, q.bySession, q.Len())
	}
}

func TestAddRefuses(t *testing.T) {
	regions := map[string]uint32{}
	for i := range MaxRegions + 1 {
		regions[fmt.Sprint(i)] = 1
	}
	q := New(3)
	add(t, q, 0, solo("a", 0, 2, nil), solo("b", 1e6, 2, nil))
	twice := party("t", 4, 1, 2)
	twice.Members[1] = twice.Members[0]
	for name, row := range map[string]struct {
		group Group
		want  error
	}{
		"one player":      {solo("x", 0, 1, nil), ErrGroup},
		"65 players":      {solo("x", 0, 65, nil), ErrGroup},
		"nobody":          {Group{Players: 2}, ErrGroup},
		"a big party":     {party("x", 2, 1, 1, 1), ErrGroup},
		"no session":      {solo("", 0, 2, nil), ErrGroup},
		"oneself":         {twice, ErrGroup},
		"many regions":    {solo("x", 0, 2, regions), ErrGroup},
		"a long name":     {solo("x", 0, 2, map[string]uint32{strings.Repeat("r", 65): 1}), ErrGroup},
		"waits already":   {solo("a", 5, 2, nil), ErrWaiting},
		"the queue's end": {party("x", 2, 1, 1), ErrFull},
	} {
		if err := q.Add(epoch, row.group); !errors.Is(err, row.want) {
			t.Errorf("%s: %v, want %v", name, err, row.want)
		}
	}
	add(t, q, 0, solo("c", 2e6, 2, nil))
	if q.Len() != 3 {
		t.Errorf("%d players wait, want 3: a refusal changes nothing", q.Len())
	}
}

func TestRemoveAndGiveUp(t *testing.T) {
	q := New(0)
	add(t, q, 0, party("p", 4, 1, 2), solo("a", 5000, 4, nil))
	if g, ok := q.Remove("p1"); !ok || g.ID != "p" || q.Waits("p0") {
		t.Errorf("removed %v, %v, want the party whole", g, ok)
	}
	if _, ok := q.Remove("p1"); ok {
		t.Error("removed twice")
	}
	calls := 0
	for at := q.Next(); !at.IsZero(); at = q.Next() {
		matches, failed := q.Advance(at)
		if calls++; len(matches) > 0 || calls > 100 {
			t.Fatalf("%v after %v and %d calls", told(matches), at.Sub(epoch), calls)
		}
		if len(failed) > 0 && (at.Sub(epoch) != GiveUpAfter || ids(failed) != "a") {
			t.Errorf("gave up on %s after %v, want a after %v", ids(failed), at.Sub(epoch), GiveUpAfter)
		}
	}
	if q.Len() != 0 {
		t.Errorf("%d players wait still", q.Len())
	}
	if calls != anything+2 {
		t.Errorf("%d calls, want one a second for a minute and the last", calls)
	}
}

func TestNextKeepsItsPace(t *testing.T) {
	q := New(0)
	if !q.Next().IsZero() {
		t.Error("an empty queue wants to be called")
	}
	add(t, q, 0, solo("a", 0, 2, nil))
	if got := q.Next(); !got.Equal(epoch) {
		t.Errorf("after the first Add: %v, want at once", got.Sub(epoch))
	}
	q.Advance(epoch)
	add(t, q, 10*time.Millisecond, solo("b", 1e6, 2, nil))
	if got := q.Next().Sub(epoch); got != Pace {
		t.Errorf("after another: %v, want %v", got, Pace)
	}
}

func TestEstimate(t *testing.T) {
	q := New(0)
	want := func(when string, players int, want time.Duration) {
		t.Helper()
		if got := q.Estimate(epoch.Add(20*time.Second), players); got != want {
			t.Errorf("%s: %v, want %v", when, got, want)
		}
	}
	want("nobody was ever there", 2, 0)
	add(t, q, 0, solo("a", 0, 2, nil))
	add(t, q, 10*time.Second, solo("b", 1e6, 2, nil))
	want("two wait", 2, 15*time.Second)
	add(t, q, 16*time.Second, solo("c", 0, 2, nil))
	q.Advance(epoch.Add(16 * time.Second))
	want("a match after 16 s and none", 2, 8*time.Second)
	want("of another size", 3, 0)
	want("of a size that there is not", 1000, 0)
}

// TestWorkIsBounded: thousands who do not fit cost each Advance little, and who
// fits is found in the end.
func TestWorkIsBounded(t *testing.T) {
	q := New(0)
	const many = 2500
	for i := range many {
		add(t, q, 0, solo(fmt.Sprint(i), 0, 2, map[string]uint32{fmt.Sprint(i): 1}))
	}
	q.Advance(epoch)
	late := 0
	for e := range q.all() {
		if e.late {
			late++
		}
	}
	if late == 0 {
		t.Fatalf("%d groups were all looked at: the test is too small", many)
	}
	add(t, q, 0, solo("a", 0, 2, map[string]uint32{"x": 1}), solo("b", 0, 2, map[string]uint32{"x": 1}))
	calls, found := 0, false
	for ; calls < 100 && !found; calls++ {
		if at := q.Next(); at.Sub(epoch) > 30*time.Second {
			break
		}
		matches, _ := q.Advance(q.Next())
		found = told(matches) == "a b"
	}
	if most := many*many/maxWork + 2; !found || calls > most {
		t.Errorf("a and b found: %v, after %d calls, want within %d", found, calls, most)
	}
}

func crowd(seed uint64, count, players int) []Group {
	r := rand.New(rand.NewPCG(seed, 1))
	regions := []string{"eu", "us", "ap", "sa"}
	var groups []Group
	for i := range count {
		home := r.IntN(len(regions))
		latency := map[string]uint32{}
		for j, name := range regions {
			ms := 10 + r.IntN(40)
			if j != home {
				ms += 60 + 40*r.IntN(4)
			}
			latency[name] = uint32(ms)
		}
		groups = append(groups, solo(fmt.Sprint(i), int(r.NormFloat64()*300+1500), players, latency))
	}
	return groups
}

// BenchmarkAdvance10000: all at once, with ratings as people have them and homes
// in four regions.
func BenchmarkAdvance10000(b *testing.B) {
	for _, players := range []int{2, 4, 10, 64} {
		groups := crowd(1, 10000, players)
		b.Run(fmt.Sprint(players), func(b *testing.B) {
			matched := 0
			for b.Loop() {
				b.StopTimer()
				q := New(0)
				for _, g := range groups {
					if err := q.Add(epoch, g); err != nil {
						b.Fatal(err)
					}
				}
				b.StartTimer()
				matches, _ := q.Advance(epoch)
				matched = len(matches) * players
			}
			b.ReportMetric(float64(matched), "matched")
		})
	}
}

// BenchmarkAdvanceNobodyFits is the worst case: 10,000 wait and find nobody.
func BenchmarkAdvanceNobodyFits(b *testing.B) {
	q := New(0)
	for i := range 10000 {
		if err := q.Add(epoch, solo(fmt.Sprint(i), 0, 2, map[string]uint32{fmt.Sprint(i): 1})); err != nil {
			b.Fatal(err)
		}
	}
	at := epoch
	for b.Loop() {
		for e := range q.all() {
			e.tried, e.late = -1, false
		}
		if matches, _ := q.Advance(at); len(matches) > 0 {
			b.Fatal(told(matches))
		}
	}
}

func BenchmarkAddRemove(b *testing.B) {
	q := New(0)
	groups := crowd(2, 10000, 2)
	for _, g := range groups[1:] {
		if err := q.Add(epoch, g); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if err := q.Add(epoch, groups[0]); err != nil {
			b.Fatal(err)
		}
		q.Remove(groups[0].Members[0].Session)
	}
}

func sessions(groups []Group) (list []string) {
	for _, g := range groups {
		for _, m := range g.Members {
			list = append(list, m.Session)
		}
	}
	slices.Sort(list)
	return list
}
