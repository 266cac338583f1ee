// Package field is the game that comes with the shard: a field on which players
// move, twenty ticks a second, each the authority for itself alone. It is small on
// purpose; what it is for is to show a mesh at work: who is where, and for each
// other player the round-trip time, the loss and the longest silence, measured by
// the very datagrams of the game.
//
// A Field is pure: no I/O, clock, goroutine or randomness. Its owner calls Tick
// every TickInterval, sends to each other player what Datagram gives, and hands
// over with Receive what arrives. Nothing is repeated: the next tick tells it
// anew. A Field is not safe for concurrent use.
package field

import "time"

const (
	// TickRate is how many ticks there are a second.
	TickRate     = 20
	TickInterval = time.Second / TickRate

	// Width and Height are the field's size, in units of its own. A player is at
	// 0 to Width-1 and 0 to Height-1; there are walls around.
	Width  = 1600
	Height = 800
	// Step is how far a player moves in a tick along one axis.
	Step = 12

	// FadeAfter and GoneAfter are how long nothing was heard of a player before
	// it is shown as uncertain, and not at all.
	FadeAfter = time.Second
	GoneAfter = 5 * time.Second

	// Colours is how many there are, from 0.
	Colours = 8
)

// Direction is where a player moves.
type Direction uint8

// The directions. Y grows downwards.
const (
	Still Direction = iota
	Up
	UpRight
	Right
	DownRight
	Down
	DownLeft
	Left
	UpLeft
	directions
)

// delta is a direction in steps.
func (d Direction) delta() (x, y int) {
	switch d {
	case Up, UpRight, UpLeft:
		y = -1
	case Down, DownRight, DownLeft:
		y = 1
	}
	switch d {
	case Right, UpRight, DownRight:
		x = 1
	case Left, UpLeft, DownLeft:
		x = -1
	}
	return x, y
}

// Position is a place on the field.
type Position struct{ X, Y int }

// on reports whether the position is on the field.
func (p Position) on() bool { return p.X >= 0 && p.X < Width && p.Y >= 0 && p.Y < Height }

// clamp is the nearest position on the field.
func (p Position) clamp() Position {
	return Position{min(max(p.X, 0), Width-1), min(max(p.Y, 0), Height-1)}
}

// step is where a tick leads; walls stop.
func (p Position) step(d Direction) Position {
	x, y := d.delta()
	return Position{p.X + x*Step, p.Y + y*Step}.clamp()
}
