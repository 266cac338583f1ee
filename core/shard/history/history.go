// Package history records who did what to the ownership of rooms and leases, and
// when, and checks afterwards that all of it can have happened one after another
// with one owner at a time (linearizability, by porcupine).
//
// Every process writes lines of JSON of its own. Times are nanoseconds of
// CLOCK_MONOTONIC, which all processes of one machine share, be they in whichever
// network namespaces: histories of several machines cannot be put together.
package history

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"
	"sync"
)

// Kind is what was done.
type Kind string

// Kinds about a room.
const (
	// Place: a directory wrote a new room, for Shard, with its first Epoch.
	Place Kind = "place"
	// Move: a directory gave the room to Shard, with the next Epoch.
	Move Kind = "move"
	// End: a directory took the room away. Drop: its Shard did.
	End  Kind = "end"
	Drop Kind = "drop"
	// Save: Shard wrote the room with Epoch, through a directory. Refused: the
	// room is another's.
	Save Kind = "save"
	// Serve: Shard acted as the owner of the room with Epoch, from Call to Return.
	Serve Kind = "serve"
	// Release: Shard gave the room with Epoch away, and serves it no more.
	Release Kind = "release"
)

// Kinds about a lease.
const (
	// Hold: Shard acted as the holder of a lease with ShardEpoch.
	Hold Kind = "hold"
	// Fence: a directory took ShardEpoch over, and lower ones. Leave: the shard gave
	// it back.
	Fence Kind = "fence"
	Leave Kind = "leave"
)

// Outcome is what became of it.
type Outcome string

// Outcomes; an operation without one was done.
const (
	Done    Outcome = ""
	Refused Outcome = "refused"
	// Unknown: it may have been done, or may be done still.
	Unknown Outcome = "unknown"

	// begun and void are on lines that Read joins with others: an operation that
	// is about to be tried, and one that certainly was not done.
	begun Outcome = "begun"
	void  Outcome = "void"
)

// Operation is one line.
type Operation struct {
	Who        string  `json:"who"`
	Kind       Kind    `json:"kind"`
	Room       string  `json:"room,omitempty"`
	Epoch      uint64  `json:"epoch,omitempty"`
	Shard      string  `json:"shard,omitempty"`
	ShardEpoch uint64  `json:"shard_epoch,omitempty"`
	Outcome    Outcome `json:"outcome,omitempty"`
	Call       int64   `json:"call"`
	Return     int64   `json:"return"`
}

// Recorder writes operations. A nil one, or one without a writer, does nothing.
// Its methods may be called from any goroutine.
type Recorder struct {
	who string
	mu  sync.Mutex
	w   io.Writer
	err error
}

// NewRecorder makes a recorder for one process.
func NewRecorder(w io.Writer, who string) *Recorder { return &Recorder{who: who, w: w} }

// Begin notes when an operation begins; give what it returns to Add or End.
func (r *Recorder) Begin(op Operation) Operation {
	if r.on() {
		op.Call = Now()
	}
	return op
}

// Intend is Begin for an operation that changes an owner, and writes that it has
// begun: who is killed before it knows what became of it may have done it all the
// same. Give what it returns to Add, End or Void.
func (r *Recorder) Intend(op Operation) Operation {
	op = r.Begin(op)
	first := op
	first.Outcome = begun
	r.Add(first)
	return op
}

// Void writes that what was intended was certainly not done.
func (r *Recorder) Void(op Operation) {
	op.Outcome = void
	r.Add(op)
}

// Add writes an operation that is done now, with its Outcome. Without Begin it
// began now.
func (r *Recorder) Add(op Operation) {
	if !r.on() {
		return
	}
	op.Who, op.Return = r.who, Now()
	if op.Call == 0 {
		op.Call = op.Return
	}
	line, err := json.Marshal(op)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		_, err = r.w.Write(append(line, '\n'))
	}
	if r.err == nil && err != nil {
		r.err = fmt.Errorf("history of %s: %w", r.who, err)
	}
}

// End is Add for what was done if there is no error, and may have been otherwise.
func (r *Recorder) End(op Operation, err error) {
	if err != nil {
		op.Outcome = Unknown
	}
	r.Add(op)
}

// Err is the first error of the writer: the history is not whole.
func (r *Recorder) Err() error {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

func (r *Recorder) on() bool { return r != nil && r.w != nil }

// Read reads lines of JSON. A last line that was cut off, as by kill -9, is left
// out; any other that is not an operation is an error. What was begun and of which
// nothing more is said has an unknown outcome.
func Read(from io.Reader) ([]Operation, error) {
	ops, err := readLines(from)
	type begin struct {
		who, room, shard string
		kind             Kind
		call             int64
	}
	of := func(op Operation) begin { return begin{op.Who, op.Room, op.Shard, op.Kind, op.Call} }
	ended := map[begin]bool{}
	for _, op := range ops {
		if op.Outcome != begun {
			ended[of(op)] = true
		}
	}
	joined := ops[:0]
	for _, op := range ops {
		switch {
		case op.Outcome == void, op.Outcome == begun && ended[of(op)]:
			continue
		case op.Outcome == begun:
			op.Outcome = Unknown
		}
		joined = append(joined, op)
	}
	return joined, err
}

func readLines(from io.Reader) ([]Operation, error) {
	var ops []Operation
	lines := bufio.NewReader(from)
	for n := 1; ; n++ {
		line, err := lines.ReadString('\n')
		if err == io.EOF {
			return ops, nil // what is left is no whole line
		} else if err != nil {
			return ops, fmt.Errorf("history, line %d: %w", n, err)
		}
		var op Operation
		decoder := json.NewDecoder(strings.NewReader(line))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&op); err != nil {
			return ops, fmt.Errorf("history, line %d: %w", n, err)
		}
		if err := op.check(); err != nil {
			return ops, fmt.Errorf("history, line %d: %w", n, err)
		}
		ops = append(ops, op)
	}
}

func (op Operation) check() error {
	_, ofRoom := roomKinds[op.Kind]
	_, ofLease := leaseKinds[op.Kind]
	switch {
	case !ofRoom && !ofLease:
		return fmt.Errorf("there is no kind %q", op.Kind)
	case ofRoom && (op.Room == "" || op.Shard == "" || op.Epoch == 0):
		return fmt.Errorf("%s needs a room, a shard and an epoch", op.Kind)
	case ofLease && (op.Shard == "" || op.ShardEpoch == 0):
		return fmt.Errorf("%s needs a shard and its epoch", op.Kind)
	case op.Outcome != Done && op.Outcome != Refused && op.Outcome != Unknown && op.Outcome != begun && op.Outcome != void:
		return fmt.Errorf("there is no outcome %q", op.Outcome)
	case op.Call <= 0 || op.Return < op.Call || op.Return == math.MaxInt64:
		return fmt.Errorf("it began at %d and ended at %d", op.Call, op.Return)
	}
	return nil
}
