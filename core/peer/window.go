package peer

// windowSize is how far behind the newest sequence number a frame may arrive
// and still be delivered: a second of a thousand frames, so that a path change
// which reorders them loses none.
const windowSize = 1024

// window remembers which sequence numbers have arrived, so that none is
// delivered twice (after RFC 6479). Sequence numbers begin at 1. The zero value
// is ready.
type window struct {
	newest uint64
	seen   [windowSize/64 + 1]uint64 // a ring; one word more than the window
}

// accept reports whether a sequence number is new, and remembers it.
func (w *window) accept(sequence uint64) bool {
	if sequence == 0 || (w.newest >= windowSize && sequence <= w.newest-windowSize) {
		return false
	}
	word, bit := sequence/64, uint64(1)<<(sequence%64)
	if sequence > w.newest {
		last := w.newest / 64
		for clear := min(word-last, uint64(len(w.seen))); clear > 0; clear-- {
			w.seen[(last+clear)%uint64(len(w.seen))] = 0
		}
		w.newest = sequence
	}
	slot := &w.seen[word%uint64(len(w.seen))]
	if *slot&bit != 0 {
		return false
	}
	*slot |= bit
	return true
}
