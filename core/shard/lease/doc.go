// Package lease decides who may say that a shard is alive. It has three pure
// machines: the Holder of a shard, which asks the members of the directory again
// and again to grant its lease; the Granter of each member; and the Fencer of a
// directory that wants to take a silent shard's rooms away. None has a clock or
// does I/O: callers give the time and carry the messages.
//
// A shard is known by epochs, numbers that only grow. A register (the directory's
// bucket, linearizable, with compare-and-set) has each shard's present epoch.
// A shard holds its lease while the grants of a majority of the members run. To
// take over from a shard of epoch e, a directory
//
//  1. reads the shard's record: epoch e at some revision of the record,
//  2. collects from a majority of the members the promise to grant no epoch up to
//     e any more, which a member gives only while no grant of its own runs,
//  3. writes the record with a higher epoch, if its revision is still that of 1.
//
// What is guaranteed: once 3 is done, no holder believes that it holds a lease
// begun with an epoch up to e; and until then nobody else does anything. The
// argument: any two majorities share a member. Had that member granted before it
// promised, its grant would have ended by the time of the promise; and after the
// promise it grants epoch e no more.
//
// A member that restarts has forgotten its grants and its promises. So for the
// length of a grant it makes no promise, as it may have granted anything; and it
// grants no epoch that is in the register when it starts (Recall), as it may have
// promised anything: the shards register anew and get the next epoch, which makes
// 3 fail for whoever counts on a forgotten promise. A holder that registers anew
// in time keeps its lease meanwhile, as members make no promise about any epoch
// of a shard while they grant it one.
//
// What is assumed:
//
//   - Messages may get lost, be late, come twice or out of order. Nobody lies.
//   - Between any two clocks of the system an interval measured by one is at most
//     1+Drift times as long by the other. Clocks need not agree on the time of
//     day; they must not jump (Go's monotonic clock does not), and machines must
//     not be suspended while their clocks stand still: a virtual machine that was
//     has to be restarted.
//   - At most one process is a given member at a time, and it does not start again
//     without reading the register, after its start.
//   - One process has an incarnation; it registers one epoch after another.
//   - The holder looks at Held and acts before it could have ended. A process that
//     is stopped in between acts late: what it writes then is refused by the epoch
//     of the room that it writes to, which is why rooms have epochs too.
package lease

import (
	"errors"
	"fmt"
	"time"
)

const (
	// DefaultGrant is how long a member grants, from when the heartbeat came.
	DefaultGrant = 2 * time.Second
	// DefaultHeartbeat is how often a shard asks each member.
	DefaultHeartbeat = 500 * time.Millisecond
	// Drift bounds how much faster one clock runs than another. Computers'
	// clocks are within 0.01 %; adjustment adds at most 0.05 %.
	Drift = 0.01
)

// Terms are what shards and members agree on.
type Terms struct {
	// Members is how many there are; 1 or more, best an odd number.
	Members int
	// Grant and Heartbeat; a grant has to outlast two heartbeats at least.
	Grant, Heartbeat time.Duration
}

// Majority is how many members decide.
func (t Terms) Majority() int { return t.Members/2 + 1 }

// Check says what is wrong with terms.
func (t Terms) Check() error {
	switch {
	case t.Members < 1 || t.Members > 99:
		return fmt.Errorf("a directory has 1 to 99 members, not %d", t.Members)
	case t.Heartbeat <= 0:
		return errors.New("the interval of heartbeats has to be more than 0")
	case t.Grant < 2*t.Heartbeat:
		return fmt.Errorf("a grant of %v does not outlast two heartbeats, one each %v", t.Grant, t.Heartbeat)
	}
	return nil
}

// held is for how long a holder counts on a grant, from sending: shorter than
// the member's count from receipt by as much as its own clock may be slow.
func (t Terms) held() time.Duration {
	return time.Duration(float64(t.Grant) / (1 + Drift))
}
