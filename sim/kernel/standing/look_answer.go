//go:build linux

package standing

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"p2pmodel/nat/ruleset"
	"p2pmodel/sim"
	"p2pmodel/sim/kernel"
	"p2pmodel/sim/witness"
)

// look is the argument of calls that look at a node.
type look struct {
	Node      string `json:"node"`
	Interface string `json:"interface,omitempty"` // of a capture; "": all
	// Watch goes on until the client hangs up, and says what is there whenever that
	// has changed; Clock also when only the time that is left has.
	Watch bool `json:"watch,omitempty"`
	Clock bool `json:"clock,omitempty"`
}

// Mapping is a mapping of a NAT as text.
type Mapping struct {
	// Text is the mapping with the time that it has left, What without.
	Text string `json:"text"`
	What string `json:"what"`
}

const (
	mappingsPoll = 200 * time.Millisecond
	capturePoll  = 30 * time.Millisecond
)

func (s *server) answerRules(c *conn, arguments json.RawMessage) error {
	var a look
	if err := json.Unmarshal(arguments, &a); err != nil {
		return err
	}
	r, err := s.router(a.Node)
	if err != nil {
		return err
	}
	text, err := r.Rules()
	if err != nil {
		return err
	}
	return c.value(text)
}

func (s *server) answerMappings(c *conn, arguments json.RawMessage) error {
	var a look
	if err := json.Unmarshal(arguments, &a); err != nil {
		return err
	}
	r, err := s.router(a.Node)
	if err != nil {
		return err
	}
	ctx, cancel := s.attend(c, nil)
	defer cancel()
	tick := time.NewTicker(mappingsPoll)
	defer tick.Stop()
	for before, first := []Mapping(nil), true; ; first = false {
		now, err := mappingsOf(r)
		if err != nil {
			return err
		}
		same := slices.EqualFunc(before, now, func(x, y Mapping) bool { return x.What == y.What && (!a.Clock || x.Text == y.Text) })
		if first || !same {
			if err := c.value(now); err != nil {
				return err
			}
			before = now
		}
		if !a.Watch {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func mappingsOf(r *kernel.Router) ([]Mapping, error) {
	table, err := r.MappingTable()
	if err != nil {
		return nil, err
	}
	all := []Mapping{}
	for _, m := range table {
		all = append(all, Mapping{Text: m.String(), What: timeless(m)})
	}
	return all, nil
}

// timeless says what a mapping is, whenever that is.
func timeless(m ruleset.Mapping) string {
	remote := "any"
	switch {
	case m.Remote.IsValid() && m.Remote.Port() == 0:
		remote = m.Remote.Addr().String()
	case m.Remote.IsValid():
		remote = m.Remote.String()
	}
	text := fmt.Sprintf("%s %v → %v (to %s)", m.Protocol, m.Inside, m.External, remote)
	if m.Filter == nil {
		return text + " from any"
	}
	for _, f := range m.Filter {
		if f.Remote.Port() == 0 {
			text += fmt.Sprintf(" from %v", f.Remote.Addr())
		} else {
			text += fmt.Sprintf(" from %v", f.Remote)
		}
	}
	return text
}

// captured is a piece of a live capture: first the points, then packets.
type captured struct {
	Points  []witness.Point  `json:"points,omitempty"`
	Packets []capturedPacket `json:"packets,omitempty"`
	// Lost says what is missing.
	Lost string `json:"lost,omitempty"`
}

// capturedPacket is a packet at one of the points.
type capturedPacket struct {
	At    int64  `json:"at"` // nanoseconds since 1970
	Point int    `json:"point"`
	Out   bool   `json:"out,omitempty"`
	Data  []byte `json:"data"`
}

// piece is how many packets go into one line.
const piece = 256

// answerCapture sends packets as they pass, until the client says no more.
func (s *server) answerCapture(c *conn, arguments json.RawMessage) error {
	var a look
	if err := json.Unmarshal(arguments, &a); err != nil {
		return err
	}
	d, err := describe(s.network)
	if err != nil {
		return err
	}
	if nodes := append(append(d.HostNames(), d.RouterNames()...), sim.Internet); !slices.Contains(nodes, a.Node) {
		return s.unknown("host or router", a.Node, nodes)
	}
	tap, err := s.network.Tap(a.Node, a.Interface)
	if err != nil {
		return err
	}
	defer func() { _ = tap.Close() }()
	ctx, cancel := s.attend(c, nil)
	defer cancel()
	points := tap.Points()
	if err := c.value(captured{Points: points}); err != nil {
		return err
	}
	number := map[witness.Point]int{}
	for i, p := range points {
		number[p] = i
	}
	tick := time.NewTicker(capturePoll)
	defer tick.Stop()
	for last := false; ; {
		for part := range slices.Chunk(tap.Take(), piece) {
			var out captured
			for _, p := range part {
				out.Packets = append(out.Packets, capturedPacket{p.At.UnixNano(), number[p.Point], p.Direction == witness.Out, p.Data})
			}
			if lost := tap.Dropped(); lost != nil {
				out.Lost = lost.Error()
			}
			if err := c.value(out); err != nil {
				return err
			}
		}
		if last {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			last = true // once more, for what has passed since
		}
	}
}
