package runner

import (
	"context"
	"fmt"
	"strings"
	"time"

	"p2pmodel/scenarios"
	"p2pmodel/sim"
)

const (
	// measurings is how often the links are measured at most, and measurePause the
	// time between: a machine that stands still for a moment keeps its promises in the
	// next, and one that is too busy does not for seconds.
	measurings   = 12
	measurePause = 250 * time.Millisecond
)

// measureLinks measures each impaired link before the run, and fails if one does
// not keep its promise: what follows would be about another network.
func (s *stage) measureLinks(ctx context.Context, o *outcome) error {
	var all []sim.Measurement
	for n := range measurings {
		var err error
		if all, err = s.net.Measure(ctx); err != nil {
			return fmt.Errorf("the links could not be measured: %w", err)
		}
		if sim.Kept(all) == nil {
			break
		}
		s.log.add(s.net.Now(), "lab", fmt.Sprintf("the links do not keep their promises (%d of %d measurings)", n+1, measurings))
		if err := s.sleep(ctx, measurePause); err != nil {
			return err
		}
	}
	for _, m := range all {
		s.log.add(s.net.Now(), "lab", m.String())
		o.links = append(o.links, scenarios.LinkResult{
			Link: m.Link.String(), Direction: string(m.Direction), Promised: sim.DescribeImpairment(m.Promised),
			DelayMS: milliseconds(m.Achieved), OffMS: milliseconds(m.Achieved - m.Expected), Sent: m.Sent, Lost: m.Lost,
		})
	}
	return sim.Kept(all)
}

// watchLinks notes how late the links were in the run. Whether that was too much,
// the network says itself.
func (s *stage) watchLinks(o *outcome) {
	for i := range o.links {
		r := &o.links[i]
		node, uplink, _ := strings.Cut(r.Link, "/")
		l, err := s.net.Link(sim.LinkID{Node: node, Uplink: uplink})
		if err != nil {
			continue // it was measured, so it is there
		}
		late, down := l.Late()
		if r.Direction == string(sim.Down) {
			late = down
		}
		r.Packets, r.LateP50MS, r.LateP99MS = late.Packets, milliseconds(late.P50), milliseconds(late.P99)
		s.log.add(s.net.Now(), "lab", fmt.Sprintf("link of %s %s: of %d packets half were at most %v late, all but one in a hundred %v",
			r.Link, r.Direction, late.Packets, late.P50.Round(time.Microsecond), late.P99.Round(time.Microsecond)))
	}
}
