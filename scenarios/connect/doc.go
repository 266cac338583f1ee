// Package connect measures how soon two peers hear each other: ours beside agents of
// pion/ice, which gather before they are introduced, as ours register and allocate
// before. One lab for each run; the stacks take turns in each round, so that a busy
// machine is busy for all of them. Times are the witness's, from when both sides were
// introduced until the first payload arrived, and until the first that came directly.
package connect
