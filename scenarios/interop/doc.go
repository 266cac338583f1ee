// Package interop is the table of interoperability: who met whom, over what, what was
// tried, what was expected and what came of it. Tests declare a row with Try and say
// with Observe what they saw; both travel as attributes of the test in the output of
// go test -json, which Read makes a Table of. So a row's outcome is its test's.
//
// What no program here can be asked is in the table as well: see Impossible.
package interop
