// Package trial plays one connection, or one room, in virtual time and as cheaply
// as it can: players behind chains of NATs and firewalls, a rendezvous and a relay,
// the system's own machines with their keys and checks. Nothing is written down of
// a trial but what became of it, so that millions of them can be played.
//
// It is what campaigns draw their figures from, and what benchmarks of the core
// measure. A scenario that fails is to be understood: that is package runner's.
package trial
