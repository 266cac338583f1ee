//go:build !race

package trial

const slower = 1
