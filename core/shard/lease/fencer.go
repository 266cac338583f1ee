package lease

// Fencer counts the promises about one epoch of one shard, asked for after the
// shard's record was read. It is good for one attempt.
type Fencer struct {
	terms   Terms
	answers map[int]bool
}

// NewFencer begins an attempt.
func NewFencer(t Terms) *Fencer { return &Fencer{terms: t, answers: map[int]bool{}} }

// Answer tells what a member answered, false also if it did not. Only the first
// answer of a member counts.
func (f *Fencer) Answer(member int, promised bool) {
	if _, ok := f.answers[member]; !ok && member >= 0 && member < f.terms.Members {
		f.answers[member] = promised
	}
}

// Fenced reports that a majority has promised.
func (f *Fencer) Fenced() bool { return f.Promises() >= f.terms.Majority() }

// Promises is how many have promised.
func (f *Fencer) Promises() int { return f.count(true) }

// Failed reports that a majority cannot be reached any more.
func (f *Fencer) Failed() bool { return f.count(false) > f.terms.Members-f.terms.Majority() }

func (f *Fencer) count(promised bool) int {
	n := 0
	for _, p := range f.answers {
		if p == promised {
			n++
		}
	}
	return n
}
