//go:build race

package trial

// slower is by how much the race detector slows trials down.
const slower = 20
