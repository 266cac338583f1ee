package runner

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"p2pmodel/core/shard/history"
	"p2pmodel/scenarios"
)

// historyOf is the file into which a server writes what it does to owners of rooms.
func (y *system) historyOf(name string) string { return y.path("history", name+".jsonl") }

// histories reads what all servers wrote, those that were killed included.
func (y *system) histories() ([]history.Operation, error) {
	files, err := filepath.Glob(y.path("history", "*.jsonl"))
	if err != nil {
		return nil, err
	}
	var all []history.Operation
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		ops, err := history.Read(bytes.NewReader(text))
		if err != nil {
			return nil, fmt.Errorf("history %s: %w", filepath.Base(file), err)
		}
		all = append(all, ops...)
	}
	return all, nil
}

// owners checks the history of the whole run: that all of it can have happened one
// after another, with one owner of each room at a time.
func (j *judgement) owners(p *phase, res *scenarios.PhaseResult) {
	ops := j.s.system.operations
	rooms, moves := map[string]bool{}, 0
	for _, op := range ops {
		if op.Room != "" {
			rooms[op.Room] = true
		}
		if op.Kind == history.Move && op.Outcome == history.Done {
			moves++
		}
	}
	if len(rooms) == 0 {
		j.proveNothing(p, "the servers wrote no history")
		return
	}
	if err := history.Check(ops); err != nil {
		j.against(p, "the history of %d rooms has two owners: %v", len(rooms), err)
		return
	}
	res.Facts = append(res.Facts, fmt.Sprintf("history of %d operations on %d rooms, %d changes of owner: one owner at a time", len(ops), len(rooms), moves))
}
