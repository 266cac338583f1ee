package matchmaking

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// model is what the queue is for, without its haste: it tries all sets.
type model struct {
	group Group
	since time.Time
}

// acceptable is the rule of the package's first paragraph, by the letter.
func acceptable(now time.Time, set []model) bool {
	players, open, known := 0, true, 0
	worst, counts := map[string]uint32{}, map[string]int{}
	limit := 1 << 30
	for i, a := range set {
		players += len(a.group.Members)
		if a.group.Players != set[0].group.Players {
			return false
		}
		for _, b := range set[:i] {
			d := max(a.group.Rating()-b.group.Rating(), b.group.Rating()-a.group.Rating())
			if d > RatingWindow(now.Sub(a.since)) || d > RatingWindow(now.Sub(b.since)) {
				return false
			}
		}
		if now.Sub(a.since) < time.Minute {
			open = false
		}
		limit = min(limit, LatencyWindow(now.Sub(a.since)))
		if len(a.group.Latency) > 0 {
			known++
		}
		for region, ms := range a.group.Latency {
			worst[region] = max(worst[region], ms)
			counts[region]++
		}
	}
	if players != set[0].group.Players {
		return false
	}
	if len(set) == 1 || known == 0 || open {
		return true
	}
	for region, n := range counts {
		if n == known && int(worst[region]) <= limit {
			return true
		}
	}
	return false
}

// possible gives a set that could play, of those who wait.
func possible(now time.Time, all []model) []model {
	for bits := 1; bits < 1<<len(all); bits++ {
		var set []model
		for i := range all {
			if bits>>i&1 == 1 {
				set = append(set, all[i])
			}
		}
		if acceptable(now, set) {
			return set
		}
	}
	return nil
}

func names(set []model) (list []string) {
	for _, m := range set {
		list = append(list, fmt.Sprintf("%s(%d)", m.group.ID, m.group.Rating()))
	}
	return list
}

// TestQueueDoesAsTheModel: whatever comes and goes, nobody is lost or doubled,
// matches are as the rules say, and after each Advance no match is possible among
// those who are left: nobody starves while there is a partner.
func TestQueueDoesAsTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q, now, count := New(40), epoch, 0
		var waiting []model
		take := func(groups []Group) (taken []model) {
			for _, g := range groups {
				i := slices.IndexFunc(waiting, func(m model) bool { return m.group.ID == g.ID })
				if i < 0 || !slices.Equal(sessions([]Group{g}), sessions([]Group{waiting[i].group})) {
					t.Fatalf("%s does not wait, or not with these members", g.ID)
				}
				taken = append(taken, waiting[i])
				waiting = slices.Delete(waiting, i, i+1)
			}
			return taken
		}
		for range rapid.IntRange(1, 40).Draw(t, "calls") {
			now = now.Add(time.Duration(rapid.SampledFrom([]int{0, 100, 1000, 7000, 45000, 100000}).Draw(t, "ms")) * time.Millisecond)
			switch what := rapid.IntRange(0, 9).Draw(t, "what"); {
			case what < 6 && len(waiting) < 9:
				count++
				g := party(fmt.Sprintf("g%d-", count), rapid.IntRange(2, 4).Draw(t, "players"))
				for i := range rapid.IntRange(1, min(3, g.Players)).Draw(t, "members") {
					g.Members = append(g.Members, Player{Session: fmt.Sprint(g.ID, i), Rating: rapid.IntRange(1000, 1400).Draw(t, "rating")})
				}
				g.Latency = rapid.MapOf(rapid.SampledFrom([]string{"eu", "us", "ap"}), rapid.Uint32Range(10, 400)).Draw(t, "latency")
				if err := q.Add(now, g); err != nil {
					t.Fatal(err)
				}
				waiting = append(waiting, model{g, now})
			case what == 6 && len(waiting) > 0:
				m := rapid.SampledFrom(waiting).Draw(t, "who leaves")
				g, ok := q.Remove(m.group.Members[len(m.group.Members)-1].Session)
				if !ok || g.ID != m.group.ID {
					t.Fatalf("removed %v, %v, want %s", g, ok, m.group.ID)
				}
				take([]Group{g})
			default:
				matches, failed := q.Advance(now)
				for _, m := range take(failed) {
					if now.Sub(m.since) < GiveUpAfter {
						t.Fatalf("gave up on %s after %v", m.group.ID, now.Sub(m.since))
					}
				}
				for _, match := range matches {
					if set := take(match.Groups); !acceptable(now, set) {
						t.Fatalf("matched %v, which the rules do not allow", names(set))
					}
				}
				if set := possible(now, waiting); set != nil {
					t.Fatalf("%v could play, but wait; matched: %s", names(set), told(matches))
				}
				for _, m := range waiting {
					if now.Sub(m.since) >= GiveUpAfter {
						t.Fatalf("%s has waited for %v", m.group.ID, now.Sub(m.since))
					}
				}
			}
			players := 0
			for _, m := range waiting {
				players += len(m.group.Members)
			}
			if q.Len() != players {
				t.Fatalf("%d players wait, want %d", q.Len(), players)
			}
			if next := q.Next(); len(waiting) > 0 && (next.IsZero() || next.After(now.Add(GiveUpAfter))) {
				t.Fatalf("%d wait, and Next says %v", len(waiting), next)
			}
		}
	})
}

// TestEqualCallsGiveEqualMatches of big crowds, and nobody is in two.
func TestEqualCallsGiveEqualMatches(t *testing.T) {
	run := func() (all string, groups []Group) {
		q := New(0)
		for i, g := range crowd(7, 3000, 4) {
			add(t, q, time.Duration(i)*time.Millisecond, g)
		}
		for at := range 4 {
			matches, _ := q.Advance(epoch.Add(time.Duration(at+3) * time.Second))
			all += told(matches) + "\n"
			for _, m := range matches {
				groups = append(groups, m.Groups...)
			}
		}
		return all, groups
	}
	first, groups := run()
	if second, _ := run(); first != second {
		t.Errorf("two runs differ:\n%s\n%s", first, second)
	}
	all := sessions(groups)
	if unique := slices.Compact(slices.Clone(all)); len(unique) != len(all) || len(all)%4 != 0 || len(all) < 2000 {
		t.Errorf("%d players in matches of four, %d of them different", len(all), len(unique))
	}
}
