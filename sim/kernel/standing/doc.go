//go:build linux

// Package standing holds labs that stand by themselves, for people and programs
// that come and go: Hold builds a lab and answers calls on a socket until it is
// told to take it down, Detach has a process of its own do that, and a Client
// makes the calls: programs on hosts, captures, mappings, events.
//
// A lab is found by its name, in a folder of the user's (Directory): NAME.lock is
// locked as long as the lab's process lives, NAME.sock is what that listens on.
// Neither keeps a lab alive, and those of a process that was killed are removed
// by whoever meets them next. The protocol is that of this version of the
// program, and no interface for others.
package standing
