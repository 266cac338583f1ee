// Package grid runs one scenario with every pair of a list of NATs, and says what
// came of each pair beside what the oracle expects: the outcomes of a stack at a
// glance.
package grid
