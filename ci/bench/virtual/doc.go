// Package virtual measures connections in virtual time beside those of pion/ice on pion's
// virtual network, and what a trial costs as there are more of them.
package virtual
