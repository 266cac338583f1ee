package secure

// windowSize is how far behind the newest number a frame may arrive
// and still be delivered: a second of a thousand frames, so that a path change
// which reorders them loses none.
const windowSize = 1024

// window remembers which numbers of frames have arrived, so that none is
// delivered twice (after RFC 6479). Numbers begin at 1. The zero value
// is ready.
type window struct {
	newest uint64
	seen   [windowSize/64 + 1]uint64 // a ring; one word more than the window
}

// fresh reports whether a number has not arrived, as far as is known.
func (w *window) fresh(number uint64) bool {
	switch {
	case number == 0, w.newest >= windowSize && number <= w.newest-windowSize:
		return false
	case number > w.newest:
		return true
	}
	return w.seen[number/64%uint64(len(w.seen))]&(1<<(number%64)) == 0
}

// accept reports whether a number is fresh, and remembers it.
func (w *window) accept(number uint64) bool {
	if !w.fresh(number) {
		return false
	}
	word := number / 64
	if number > w.newest {
		last := w.newest / 64
		for clear := min(word-last, uint64(len(w.seen))); clear > 0; clear-- {
			w.seen[(last+clear)%uint64(len(w.seen))] = 0
		}
		w.newest = number
	}
	w.seen[word%uint64(len(w.seen))] |= 1 << (number % 64)
	return true
}
