package history

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// checkTimeout bounds the search for one order of all operations of one room or
// lease.
const checkTimeout = 30 * time.Second

// Check reports whether the operations, of all processes together, can have
// happened one after another, each between its call and its return, such that
//
//   - a room has one owner at a time: a shard with an epoch, and each next epoch is
//     given once;
//   - only the owner saves and drops a room, and whoever else tries is refused;
//   - a shard serves a room only while it is the owner and has not released it;
//   - nobody acts as the holder of a lease that was taken over or given back.
//
// An operation whose outcome is unknown was done at any time after its call, or
// not. The error names the first room or lease for which that cannot be, with its
// operations.
func Check(ops []Operation) error {
	for _, op := range ops {
		if err := op.check(); err != nil {
			return fmt.Errorf("%s by %s: %w", op.Kind, op.Who, err)
		}
	}
	of := map[string][]Operation{}
	for _, op := range ops {
		if _, ok := roomKinds[op.Kind]; ok {
			of["room "+op.Room] = append(of["room "+op.Room], op)
		} else {
			of["lease of shard "+op.Shard] = append(of["lease of shard "+op.Shard], op)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(of)) {
		if err := checkOne(name, of[name]); err != nil {
			return err
		}
	}
	return nil
}

func checkOne(name string, ops []Operation) error {
	slices.SortStableFunc(ops, func(a, b Operation) int { return cmp.Compare(a.Call, b.Call) })
	events := make([]porcupine.Operation, 0, len(ops))
	for i, op := range ops {
		e := porcupine.Operation{ClientId: i, Input: op, Call: op.Call, Return: op.Return}
		if op.Outcome == Unknown {
			e.Return = math.MaxInt64
		}
		events = append(events, e)
	}
	model := leaseModel
	if strings.HasPrefix(name, "room ") {
		model = roomModel
	}
	switch porcupine.CheckOperationsTimeout(model, events, checkTimeout) {
	case porcupine.Ok:
		return nil
	case porcupine.Unknown:
		return fmt.Errorf("%s: no answer within %v about %d operations", name, checkTimeout, len(ops))
	}
	return fmt.Errorf("%s: there is no order with one owner at a time for\n%s", name, describe(ops))
}

// describe lists operations for people, the times from the first one on.
func describe(ops []Operation) string {
	var b strings.Builder
	for i, op := range ops {
		if i == 200 {
			fmt.Fprintf(&b, "  … and %d more\n", len(ops)-i)
			break
		}
		at := func(t int64) time.Duration { return time.Duration(t - ops[0].Call).Round(time.Microsecond) }
		epoch := op.Epoch
		if epoch == 0 {
			epoch = op.ShardEpoch
		}
		fmt.Fprintf(&b, "  %12v to %12v  %-12s %-8s %s epoch %d %s\n", at(op.Call), at(op.Return), op.Who, op.Kind, op.Shard, epoch, op.Outcome)
	}
	return b.String()
}
