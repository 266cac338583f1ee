// Package lab measures how long labs take to build and to take down: ours, and the same
// labs made by scripts of ip and nft.
package lab
