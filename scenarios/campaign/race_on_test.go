//go:build race

package campaign

// slower is how many times fewer trials there are with the race detector, which slows
// them down tenfold; make unit has all of them without it.
const slower = 3
