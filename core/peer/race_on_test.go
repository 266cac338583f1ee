//go:build race

package peer

// raced: the race detector slows the simulation down tenfold.
const raced = true
