package history

import "github.com/anishathalye/porcupine"

// owner is the state of a room. Before it is placed, and after its end, there is no
// shard; the epoch stays, as a room that is placed again has a higher one.
type owner struct {
	shard    string
	epoch    uint64
	released bool
}

// roomKinds say which state follows if an operation is done, and whether it may be.
var roomKinds = map[Kind]func(s owner, op Operation) (owner, bool){
	Place: func(s owner, op Operation) (owner, bool) {
		return owner{shard: op.Shard, epoch: op.Epoch}, s.shard == "" && op.Epoch > s.epoch
	},
	Move: func(s owner, op Operation) (owner, bool) {
		return owner{shard: op.Shard, epoch: op.Epoch}, s.shard != "" && s.epoch+1 == op.Epoch
	},
	End:   func(s owner, op Operation) (owner, bool) { return owner{epoch: s.epoch}, s.is(op) },
	Drop:  func(s owner, op Operation) (owner, bool) { return owner{epoch: s.epoch}, s.is(op) },
	Save:  func(s owner, op Operation) (owner, bool) { return s, s.is(op) },
	Serve: func(s owner, op Operation) (owner, bool) { return s, s.is(op) && !s.released },
	Release: func(s owner, op Operation) (owner, bool) {
		ok := s.is(op)
		s.released = true
		return s, ok
	},
}

func (s owner) is(op Operation) bool { return s.shard == op.Shard && s.epoch == op.Epoch }

// leaseKinds are the same for leases: the state is the highest epoch that was taken
// over or given back.
var leaseKinds = map[Kind]func(s uint64, op Operation) (uint64, bool){
	Hold:  func(s uint64, op Operation) (uint64, bool) { return s, op.ShardEpoch > s },
	Fence: func(s uint64, op Operation) (uint64, bool) { return op.ShardEpoch, op.ShardEpoch > s },
	Leave: func(s uint64, op Operation) (uint64, bool) { return max(s, op.ShardEpoch), true },
}

var (
	roomModel  = modelOf(owner{}, roomKinds)
	leaseModel = modelOf(uint64(0), leaseKinds)
)

// modelOf makes what porcupine checks: an operation that was done was allowed, one
// that was refused was not, and of one of which nobody knows either may be.
func modelOf[S comparable](start S, kinds map[Kind]func(S, Operation) (S, bool)) porcupine.Model {
	model := porcupine.NondeterministicModel{
		Init: func() []any { return []any{start} },
		Step: func(state, input, _ any) []any {
			op := input.(Operation)
			next, allowed := kinds[op.Kind](state.(S), op)
			switch op.Outcome {
			case Refused:
				if allowed {
					return nil
				}
				return []any{state}
			case Unknown:
				if allowed {
					return []any{state, next}
				}
				return []any{state}
			}
			if allowed {
				return []any{next}
			}
			return nil
		},
		Equal: func(a, b any) bool { return a == b },
	}
	return model.ToModel()
}
