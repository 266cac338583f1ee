package field

import (
	"slices"
	"strings"
	"time"
)

// Field is one player's view of the field: itself, which it moves, and what it
// has heard of the others.
type Field struct {
	origin time.Time // zero of our clock in datagrams
	own    Figure
	tick   uint32
	others map[string]*other
}

// Figure is a player as it is seen.
type Figure struct {
	Player    string
	At        Position
	Direction Direction
	Colour    uint8
	State     State
}

// State says how certain it is that a player is where it is shown.
type State uint8

// The states. A player of whom nothing was heard yet is Gone.
const (
	Fresh State = iota
	Fading
	Gone
)

// String is "fresh", "fading" or "gone".
func (s State) String() string { return [...]string{"fresh", "fading", "gone"}[s] }

// other is what is known of another player.
type other struct {
	link
	// last is its newest state, before the one that came before, or as far as it
	// was shown of that; both equal with the first one.
	last   Datagram
	before Position
	// glide is how long a move from before to last is to take.
	glide time.Duration
}

// New makes the field of a player. The colour counts modulo Colours; the position
// is put on the field.
func New(now time.Time, player string, colour uint8, at Position) *Field {
	return &Field{
		origin: now,
		own:    Figure{Player: player, Colour: colour % Colours, At: at.clamp()},
		others: make(map[string]*other),
	}
}

// Steer says where the player moves from the next tick on.
func (f *Field) Steer(d Direction) {
	if d < directions {
		f.own.Direction = d
	}
}

// Tick moves the player by one tick. A wall stops it in the direction of the wall
// only. It reports whether the player came against one.
func (f *Field) Tick() (wall bool) {
	f.tick++
	to := f.own.At.step(f.own.Direction)
	x, y := f.own.Direction.delta()
	wall = to != Position{f.own.At.X + x*Step, f.own.At.Y + y*Step}
	f.own.At = to
	return wall
}

// Own is the player itself.
func (f *Field) Own() Figure { return f.own }

// Ticks is how many ticks there were.
func (f *Field) Ticks() uint32 { return f.tick }

// Join begins to listen to a player, or begins anew: one who comes back counts
// its datagrams from 1 again. Ours go on counting.
func (f *Field) Join(player string) {
	if player == f.own.Player {
		return
	}
	fresh := &other{}
	if known := f.others[player]; known != nil {
		fresh.sent = known.sent
	}
	f.others[player] = fresh
}

// Leave forgets a player.
func (f *Field) Leave(player string) { delete(f.others, player) }

// Datagram appends what to tell a player now; nothing for one who has not joined.
func (f *Field) Datagram(b []byte, now time.Time, to string) []byte {
	o := f.others[to]
	if o == nil {
		return b
	}
	o.sent++
	d := Datagram{
		Sequence: o.sent, Tick: f.tick, At: f.own.At, Direction: f.own.Direction, Colour: f.own.Colour,
		SentAt: f.clock(now),
	}
	if !o.heard.IsZero() {
		d.Echo, d.Held = o.last.SentAt, now.Sub(o.heard)
	}
	return d.Append(b)
}

// clock is our clock as datagrams have it. It is never 0.
func (f *Field) clock(now time.Time) uint64 {
	return uint64(max(now.Sub(f.origin).Microseconds(), 0)) + 1
}

// Receive takes what a player has sent. One that comes after a later one only
// counts as not lost. The errors are those of Parse, and nothing has changed
// then; datagrams of players who have not joined are dropped.
func (f *Field) Receive(now time.Time, from string, payload []byte) error {
	d, err := Parse(payload)
	if err != nil {
		return err
	}
	o := f.others[from]
	if o == nil {
		return nil
	}
	shown, state := o.at(now), o.state(now)
	if !o.arrived(now, d.Sequence) {
		return nil
	}
	if d.Echo != 0 {
		o.sample(time.Duration(int64(f.clock(now)-d.Echo))*time.Microsecond - d.Held)
	}
	// The way since the last one is shown in the time it took, two ticks at
	// most: where datagrams were lost, the figure would lag behind otherwise.
	o.before, o.glide = shown, min(time.Duration(d.Tick-o.last.Tick), 2)*TickInterval
	if state == Gone {
		o.before = d.At
	}
	o.last = d
	return nil
}

// at is where the player is shown: on its way from where it was shown last to
// where it says that it is.
func (o *other) at(now time.Time) Position {
	since := now.Sub(o.heard)
	if since >= o.glide || since < 0 {
		return o.last.At
	}
	part := func(from, to int) int { return from + int(int64(to-from)*int64(since)/int64(o.glide)) }
	return Position{part(o.before.X, o.last.At.X), part(o.before.Y, o.last.At.Y)}
}

func (o *other) state(now time.Time) State {
	switch silence := now.Sub(o.heard); {
	case o.heard.IsZero() || silence >= GoneAfter:
		return Gone
	case silence >= FadeAfter:
		return Fading
	}
	return Fresh
}

// Others are the other players as they are seen now, by name; those who are gone
// have no place worth showing.
func (f *Field) Others(now time.Time) []Figure {
	list := make([]Figure, 0, len(f.others))
	for name, o := range f.others {
		list = append(list, Figure{
			Player: name, At: o.at(now), Direction: o.last.Direction, Colour: o.last.Colour, State: o.state(now),
		})
	}
	slices.SortFunc(list, func(a, b Figure) int { return strings.Compare(a.Player, b.Player) })
	return list
}

// Link is how a player is heard, and whether it has joined.
func (f *Field) Link(now time.Time, player string) (Link, bool) {
	o := f.others[player]
	if o == nil {
		return Link{}, false
	}
	return o.measured(now), true
}
