package room

import (
	"time"

	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/api/insidev1"
)

// Effect is what a room wants done, or has to be known around it: Tell, Save,
// Ended, Drop, Entered or Left.
type Effect any

// Tell publishes an event to sessions.
type Tell struct {
	Sessions []string
	Event    *agentv1.Event
}

// Save gives the room's record to the directory. One at a time: the next comes
// after Saved was called. Changes is how many changes it has that the last one
// had not; 0: it was asked for by Want.
type Save struct {
	Record  *insidev1.RoomRecord
	Changes int
}

// Entered and Left: a session has a place, or has it no more. Abandon gives all up
// without a word.
type (
	Entered struct{ Session string }
	Left    struct{ Session string }
)

// Ended is the record of a match that has ended.
type Ended struct{ Match *agentv1.Match }

// Drop says that the directory shall forget the room, which is closed.
type Drop struct{}

// Outcome is what became of a Save.
type Outcome int

const (
	// Kept: the directory has it.
	Kept Outcome = iota
	// Failed: it may have it; the room asks again.
	Failed
	// Fenced: the room is another shard's.
	Fenced
)

// PollEffect gives the next effect.
func (r *Room) PollEffect() (Effect, bool) {
	if len(r.effects) == 0 {
		return nil, false
	}
	e := r.effects[0]
	r.effects[0] = nil
	if r.effects = r.effects[1:]; len(r.effects) == 0 {
		r.effects = nil
	}
	return e, true
}

// Saved says what became of the last Save.
func (r *Room) Saved(now time.Time, o Outcome) {
	r.saving = false
	switch o {
	case Failed:
		r.save.wanted, r.save.next = true, now.Add(saveRetry)
	case Fenced:
		r.Abandon()
	}
	r.settle(now)
}

// Want saves the record as soon as no other Save is under way, to learn whether
// the room is still this shard's.
func (r *Room) Want(now time.Time) {
	if r.closed {
		return
	}
	r.save.wanted, r.save.next = true, now
	r.settle(now)
}

// Abandon lets go of the room without a word: it is another shard's, which tells
// its members.
func (r *Room) Abandon() {
	r.closed = true
	r.effects = nil
}

// close ends the room for good: members are told, and the directory shall forget it.
func (r *Room) close(reason string) {
	r.tell(&agentv1.Event{Kind: &agentv1.Event_RoomClosed{RoomClosed: &agentv1.RoomClosed{Room: r.id, Reason: reason}}})
	r.effects = append(r.effects, Drop{})
	r.state = agentv1.RoomState_ROOM_STATE_ENDED
	r.closed = true
}

// tell tells all members.
func (r *Room) tell(e *agentv1.Event) {
	if len(r.members) == 0 {
		return
	}
	r.effects = append(r.effects, Tell{r.Sessions(), e})
}

// Sessions are those that have places.
func (r *Room) Sessions() []string {
	sessions := make([]string, len(r.members))
	for i, m := range r.members {
		sessions[i] = m.session
	}
	return sessions
}

// Unsaved reports whether the record has changes that no Save has had yet.
func (r *Room) Unsaved() bool { return r.unsaved > 0 }
