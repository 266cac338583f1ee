package history

import (
	"bytes"
	"testing"
)

// A directory that is killed may have given a room away and not known it yet: the
// next one finds the room an epoch further.
func TestWhatWasBegunByOneWhoWasKilledMayHaveBeenDone(t *testing.T) {
	const room = "r"
	var file bytes.Buffer
	killed, next := NewRecorder(&file, "directory-1"), NewRecorder(&file, "directory-2")
	killed.Add(Operation{Kind: Place, Room: room, Epoch: 1, Shard: "a"})
	killed.Intend(Operation{Kind: Move, Room: room, Epoch: 2, Shard: "b"}) // and no more
	// Another one tries the same, too late, and then goes on from there.
	next.Void(next.Intend(Operation{Kind: Move, Room: room, Epoch: 2, Shard: "a"}))
	next.End(next.Intend(Operation{Kind: Move, Room: room, Epoch: 3, Shard: "a"}), nil)

	ops, err := Read(&file)
	if err != nil {
		t.Fatal(err)
	}
	outcomes := map[uint64]Outcome{}
	for _, op := range ops {
		outcomes[op.Epoch] = op.Outcome
	}
	if len(ops) != 3 || outcomes[2] != Unknown || outcomes[3] != Done {
		t.Errorf("read %+v, want the first, the unknown and the last", ops)
	}
	if err := Check(ops); err != nil {
		t.Errorf("this can have happened: %v", err)
	}
	if err := Check(append(ops[:1:1], ops[2])); err == nil {
		t.Error("without the unknown move an epoch is left out, and nobody noticed")
	}
}
