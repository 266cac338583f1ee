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
	pastMatches = 1000
	pastBytes   = 16 << 20
)

// past writes the matches that have ended, and keeps the last.
type past struct {
	mu    sync.Mutex
	w     io.Writer
	last  []*agentv1.Match // the oldest first
	bytes int
	byID  map[string]*agentv1.Match
}

func newPast(w io.Writer) *past { return &past{w: w, byID: map[string]*agentv1.Match{}} }

// add keeps a match, and writes it as a line of JSON with the names of agent.proto.
func (p *past) add(m *agentv1.Match) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = append(p.last, m)
	p.bytes += proto.Size(m)
	p.byID[m.Room] = m
	for len(p.last) > pastMatches || p.bytes > pastBytes {
		oldest := p.last[0]
		p.last[0] = nil
		p.last = p.last[1:]
		p.bytes -= proto.Size(oldest)
		if p.byID[oldest.Room] == oldest {
			delete(p.byID, oldest.Room)
		}
	}
	if p.w == nil {
		return nil
	}
	line, err := recordLine(m)
	if err == nil {
		_, err = p.w.Write(line)
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

func (p *past) find(id string) (*agentv1.Match, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if m := p.byID[id]; m != nil {
		return m, nil
	}
	return nil, rpc.Errorf(connect.CodeNotFound, "no match of the room %s is known on this shard", id)
}
