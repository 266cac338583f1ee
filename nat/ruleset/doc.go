// Package ruleset turns a nat.Behavior into stateless nftables rules of a
// router's network namespace, by netlink alone.
package ruleset
