package punch

// Held counts what an agent keeps at present.
type Held struct {
	Pairs int // at most MaxPairs
	// InFlight are checks that may still be answered.
	InFlight int
}

// Held gives them.
func (a *Agent) Held() Held { return Held{Pairs: len(a.pairs), InFlight: len(a.flights)} }
