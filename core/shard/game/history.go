package game

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"sync"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/rpc"
)

// How many of the last matches can be asked for, and how many bytes at most.
const (
	historyMatches = 1000
	historyBytes   = 16 << 20
)

// history writes the matches that have ended, and keeps the last.
type history struct {
	mu    sync.Mutex
	w     io.Writer
	last  []*agentv1.Match // the oldest first
	bytes int
	byID  map[string]*agentv1.Match
}

func newHistory(w io.Writer) *history { return &history{w: w, byID: map[string]*agentv1.Match{}} }

// add keeps a match, and writes it as a line of JSON with the names of agent.proto.
func (h *history) add(m *agentv1.Match) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = append(h.last, m)
	h.bytes += proto.Size(m)
	h.byID[m.Room] = m
	for len(h.last) > historyMatches || h.bytes > historyBytes {
		oldest := h.last[0]
		h.last[0] = nil
		h.last = h.last[1:]
		h.bytes -= proto.Size(oldest)
		if h.byID[oldest.Room] == oldest {
			delete(h.byID, oldest.Room)
		}
	}
	if h.w == nil {
		return nil
	}
	line, err := recordLine(m)
	if err == nil {
		_, err = h.w.Write(line)
	}
	if err != nil {
		return fmt.Errorf("write the record of a match: %w", err)
	}
	return nil
}

// recordLine is a match as a line. protojson varies its spaces on purpose; a line
// for files does not.
func recordLine(m *agentv1.Match) ([]byte, error) {
	raw, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return nil, err
	}
	var line bytes.Buffer
	if err := json.Compact(&line, raw); err != nil {
		return nil, err
	}
	line.WriteByte('\n')
	return line.Bytes(), nil
}

func (h *history) find(id string) (*agentv1.Match, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if m := h.byID[id]; m != nil {
		return m, nil
	}
	return nil, rpc.Errorf(connect.CodeNotFound, "no match of the room %s is known on this shard", id)
}
