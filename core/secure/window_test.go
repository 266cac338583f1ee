package secure

import (
	"testing"
)

func TestWindow(t *testing.T) {
	for _, row := range []struct {
		name string
		in   []uint64
		want []bool
	}{
		{"in order", []uint64{1, 2, 3}, []bool{true, true, true}},
		{"zero is no number", []uint64{0}, []bool{false}},
		{"twice", []uint64{5, 5, 6, 5, 6}, []bool{true, false, true, false, false}},
		{"late but new", []uint64{10, 3, 3, 9}, []bool{true, true, false, true}},
		{"oldest of the window", []uint64{windowSize, 1, 1}, []bool{true, true, false}},
		{"just past the window", []uint64{windowSize + 1, 1, 2}, []bool{true, false, true}},
		{"far jump forgets nothing it should know", []uint64{1, 1 << 40, 1<<40 - 1, 1 << 40, 1<<40 - windowSize, 1}, []bool{true, true, true, false, false, false}},
		{"same slot of the ring", []uint64{64, 64 + 64*(windowSize/64+1), 64}, []bool{true, true, false}},
		{"the last number", []uint64{^uint64(0), ^uint64(0)}, []bool{true, false}},
	} {
		var w window
		for i, number := range row.in {
			if got := w.accept(number); got != row.want[i] {
				t.Errorf("%s: number %d (%d of %v) accepted: %v, want %v", row.name, number, i+1, row.in, got, row.want[i])
			}
		}
	}
}

// FuzzWindow: against a set that remembers everything.
func FuzzWindow(f *testing.F) {
	f.Add([]byte{1, 2, 3, 2})
	f.Add([]byte{255, 255, 255, 255, 255, 1, 255, 0})
	f.Fuzz(func(t *testing.T, steps []byte) {
		var w window
		seen := map[uint64]bool{}
		var at, newest uint64 = 2000, 0
		for _, s := range steps {
			at = uint64(int64(at) + (int64(s)-100)*7)
			want := at != 0 && !seen[at] && (at > newest || newest-at < windowSize)
			if got := w.accept(at); got != want {
				t.Fatalf("number %d with newest %d: accepted %v, want %v", at, newest, got, want)
			}
			if want {
				seen[at], newest = true, max(newest, at)
			}
		}
	})
}
