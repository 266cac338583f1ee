package history

import (
	"bytes"
	"errors"
	"strings"
	"sync"
	"testing"
)

// at gives an operation its times.
func at(call, ret int64, op Operation) Operation {
	op.Who, op.Call, op.Return = "test", call, ret
	return op
}

func room(kind Kind, shard string, epoch uint64) Operation {
	return Operation{Kind: kind, Room: "r", Shard: shard, Epoch: epoch}
}

func lease(kind Kind, epoch uint64) Operation {
	return Operation{Kind: kind, Shard: "a", ShardEpoch: epoch}
}

func with(op Operation, o Outcome) Operation { op.Outcome = o; return op }

func TestHistories(t *testing.T) {
	for _, c := range []struct {
		name string
		ops  []Operation
		bad  bool
	}{
		{name: "nothing"},
		{name: "a room's life", ops: []Operation{
			at(1, 2, room(Place, "a", 1)), at(3, 4, room(Save, "a", 1)), at(5, 6, room(Serve, "a", 1)),
			at(7, 8, room(Release, "a", 1)), at(9, 10, room(Move, "b", 2)), at(11, 12, room(Serve, "b", 2)), at(13, 14, room(Drop, "b", 2)),
		}},
		{name: "served before it was placed", bad: true, ops: []Operation{at(1, 2, room(Serve, "a", 1)), at(3, 4, room(Place, "a", 1))}},
		{name: "served while it is placed", ops: []Operation{at(1, 4, room(Place, "a", 1)), at(2, 3, room(Serve, "a", 1))}},
		{name: "two owners", bad: true, ops: []Operation{
			at(1, 2, room(Place, "a", 1)), at(3, 4, room(Move, "b", 2)), at(5, 6, room(Serve, "a", 1)),
		}},
		{name: "served while it is moved", ops: []Operation{
			at(1, 2, room(Place, "a", 1)), at(3, 10, room(Move, "b", 2)), at(4, 5, room(Serve, "a", 1)), at(6, 7, room(Serve, "b", 2)),
		}},
		{name: "served by both in turns while it is moved", bad: true, ops: []Operation{
			at(1, 2, room(Place, "a", 1)), at(3, 20, room(Move, "b", 2)),
			at(4, 5, room(Serve, "a", 1)), at(6, 7, room(Serve, "b", 2)), at(8, 9, room(Serve, "a", 1)),
		}},
		{name: "moved twice with one epoch", bad: true, ops: []Operation{
			at(1, 2, room(Place, "a", 1)), at(3, 4, room(Move, "b", 2)), at(3, 4, room(Move, "c", 2)),
		}},
		{name: "served after it was released", bad: true, ops: []Operation{
			at(1, 2, room(Place, "a", 1)), at(3, 4, room(Release, "a", 1)), at(5, 6, room(Serve, "a", 1)),
		}},
		{name: "another's write that is accepted", bad: true, ops: []Operation{
			at(1, 2, room(Place, "a", 1)), at(3, 4, room(Move, "b", 2)), at(5, 6, room(Save, "a", 1)),
		}},
		{name: "another's write that is refused", ops: []Operation{
			at(1, 2, room(Place, "a", 1)), at(3, 4, room(Move, "b", 2)), at(5, 6, with(room(Save, "a", 1), Refused)),
		}},
		{name: "the owner's write that is refused", bad: true, ops: []Operation{
			at(1, 2, room(Place, "a", 1)), at(5, 6, with(room(Save, "a", 1), Refused)),
		}},
		{name: "saved after it was dropped", bad: true, ops: []Operation{
			at(1, 2, room(Place, "a", 1)), at(3, 4, room(Drop, "a", 1)), at(5, 6, room(Save, "a", 1)),
		}},
		{name: "placed again with an epoch it had", bad: true, ops: []Operation{
			at(1, 2, room(Place, "a", 1)), at(3, 4, room(End, "a", 1)), at(5, 6, room(Place, "b", 1)),
		}},
		{name: "placed again with a later epoch", ops: []Operation{
			at(1, 2, room(Place, "a", 5)), at(3, 4, room(End, "a", 5)), at(5, 6, room(Place, "b", 9)), at(7, 8, room(Serve, "b", 9)),
		}},
		{name: "a move that nobody knows of was done", ops: []Operation{
			at(1, 2, room(Place, "a", 1)), at(3, 4, with(room(Move, "b", 2), Unknown)), at(50, 60, room(Serve, "b", 2)),
		}},
		{name: "a move that nobody knows of was not done", ops: []Operation{
			at(1, 2, room(Place, "a", 1)), at(3, 4, with(room(Move, "b", 2), Unknown)), at(50, 60, room(Serve, "a", 1)),
		}},
		{name: "a move that nobody knows of was done and not done", bad: true, ops: []Operation{
			at(1, 2, room(Place, "a", 1)), at(3, 4, with(room(Move, "b", 2), Unknown)), at(50, 60, room(Serve, "b", 2)), at(70, 80, room(Serve, "a", 1)),
		}},
		{name: "rooms are apart", ops: []Operation{
			at(1, 2, room(Place, "a", 1)), at(1, 2, Operation{Kind: Place, Room: "other", Shard: "b", Epoch: 1}), at(3, 4, Operation{Kind: Serve, Room: "other", Shard: "b", Epoch: 1}),
		}},

		{name: "a lease's life", ops: []Operation{
			at(1, 2, lease(Hold, 1)), at(3, 4, lease(Hold, 2)), at(5, 6, lease(Fence, 2)), at(7, 8, lease(Hold, 4)), at(9, 10, lease(Leave, 4)),
		}},
		{name: "held after it was taken over", bad: true, ops: []Operation{at(1, 2, lease(Fence, 2)), at(3, 4, lease(Hold, 2))}},
		{name: "held after it was given back", bad: true, ops: []Operation{at(1, 2, lease(Leave, 2)), at(3, 4, lease(Hold, 1))}},
		{name: "held while it is taken over", ops: []Operation{at(1, 5, lease(Fence, 2)), at(3, 4, lease(Hold, 2))}},
		{name: "taken over twice", bad: true, ops: []Operation{at(1, 2, lease(Fence, 2)), at(3, 4, lease(Fence, 2))}},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := Check(c.ops)
			if (err != nil) != c.bad {
				t.Errorf("the check says %v", err)
			}
			if err != nil && !strings.Contains(err.Error(), string(c.ops[len(c.ops)-1].Kind)) {
				t.Errorf("the error does not show the operations: %v", err)
			}
		})
	}
}

func TestRecordersWriteWhatIsRead(t *testing.T) {
	var b bytes.Buffer
	r := NewRecorder(&b, "p")
	op := r.Begin(room(Place, "a", 1))
	r.Add(op)
	r.End(r.Begin(room(Move, "b", 2)), errors.New("no answer"))
	r.Add(lease(Fence, 3))
	var writing sync.WaitGroup
	for range 10 {
		writing.Go(func() {
			for range 100 {
				r.Add(r.Begin(room(Save, "a", 1)))
			}
		})
	}
	writing.Wait()
	b.WriteString(`{"who":"p","kind":"sa`) // killed while it wrote
	ops, err := Read(&b)
	if err != nil || len(ops) != 1003 || r.Err() != nil {
		t.Fatalf("%d operations, %v", len(ops), err)
	}
	first := ops[0]
	if first.Who != "p" || first.Call <= 0 || first.Return < first.Call || first.Room != "r" || ops[1].Outcome != Unknown || ops[2].Call != ops[2].Return {
		t.Errorf("%+v", ops[:3])
	}
	for i := 1; i < len(ops); i++ {
		if ops[i].Call < first.Call {
			t.Errorf("time runs backwards: %+v", ops[i])
		}
	}
}

func TestNobodyListens(t *testing.T) {
	for name, r := range map[string]*Recorder{"nil": nil, "no writer": NewRecorder(nil, "p")} {
		if op := r.Begin(room(Save, "a", 1)); op.Call != 0 {
			t.Errorf("%s: times are taken for nothing", name)
		}
		r.Add(room(Save, "a", 1))
		r.End(room(Save, "a", 1), nil)
		if r.Err() != nil {
			t.Error(name)
		}
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestAHistoryWithHolesSaysSo(t *testing.T) {
	r := NewRecorder(broken{}, "p")
	r.Add(room(Save, "a", 1))
	if r.Err() == nil {
		t.Error("nobody learns of it")
	}
}

func TestWhatIsNoHistory(t *testing.T) {
	const times = `,"call":1,"return":2}`
	for name, line := range map[string]string{
		"no JSON":           `x`,
		"no kind":           `{"who":"p"` + times,
		"an unknown kind":   `{"kind":"steal","room":"r","shard":"a","epoch":1` + times,
		"an unknown field":  `{"kind":"fence","shard":"a","shard_epoch":1,"x":1` + times,
		"no room":           `{"kind":"save","shard":"a","epoch":1` + times,
		"no epoch":          `{"kind":"save","room":"r","shard":"a"` + times,
		"no shard's epoch":  `{"kind":"fence","shard":"a"` + times,
		"a strange outcome": `{"kind":"fence","shard":"a","shard_epoch":1,"outcome":"maybe"` + times,
		"ends first":        `{"kind":"fence","shard":"a","shard_epoch":1,"call":5,"return":2}`,
	} {
		if ops, err := Read(strings.NewReader(line + "\n")); err == nil {
			t.Errorf("%s is read as %v", name, ops)
		}
	}
	if err := Check([]Operation{{Kind: "steal"}}); err == nil {
		t.Error("an unknown kind is checked")
	}
}

// FuzzRead: whatever a file has, it is refused or checked.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"who":"p","kind":"save","room":"r","shard":"a","epoch":1,"call":1,"return":2}` + "\n"))
	f.Add([]byte(`{"who":"p","kind":"hold","shard":"a","shard_epoch":1,"call":1,"return":2}` + "\n" + `{"kind":"sa`))
	f.Fuzz(func(t *testing.T, data []byte) {
		ops, err := Read(bytes.NewReader(data))
		if err != nil {
			return
		}
		for _, op := range ops {
			if err := op.check(); err != nil {
				t.Errorf("read, and not to be checked: %v", err)
			}
		}
		if len(ops) < 8 {
			_ = Check(ops)
		}
	})
}
