package virtual

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestHeapGivesEventsInOrder: by time, and those of one time as they came.
func TestHeapGivesEventsInOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, span := range []int64{1, 5, 1000, 1 << 40} {
		var h heap
		var all, got []event
		for seq := range uint64(500) {
			e := event{at: instant(r.Int64N(span)), seq: seq}
			h.push(e)
			all = append(all, e)
			if r.IntN(3) == 0 {
				first := slices.MinFunc(all, func(a, b event) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.seq, b.seq)) })
				if e := h.pop(); e != first {
					t.Fatalf("span %d: %d/%d comes before %d/%d", span, e.at, e.seq, first.at, first.seq)
				}
				all = slices.DeleteFunc(all, func(e event) bool { return e == first })
			}
		}
		slices.SortFunc(all, func(a, b event) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.seq, b.seq)) })
		for len(h) > 0 {
			got = append(got, h.pop())
		}
		if !slices.Equal(got, all) {
			t.Errorf("span %d: what is left is not in order", span)
		}
	}
}

func BenchmarkHeap(b *testing.B) {
	var h heap
	r := rand.New(rand.NewPCG(1, 2))
	delays := make([]instant, 1024)
	for i := range delays {
		delays[i] = instant(r.Int64N(20e6))
	}
	for i := range 64 {
		h.push(event{at: delays[i], seq: uint64(i)})
	}
	i := 0
	for b.Loop() {
		e := h.pop()
		e.at += delays[i%1024]
		e.seq = uint64(i)
		h.push(e)
		i++
	}
}
