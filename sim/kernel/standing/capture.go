//go:build linux

package standing

import (
	"context"
	"time"

	"p2pmodel/sim/witness"
)

// Capture is what a live capture calls. Points comes first, with the places that
// it watches, then Packets, each time with those that have passed since; then
// perhaps Lost, which says that some are missing. An error ends the capture.
type Capture struct {
	Points  func([]witness.Point) error
	Packets func([]witness.Packet) error
	Lost    func(why string)
}

// Capture watches a host, a router or sim.Internet, at one interface or, with "",
// at all, until ctx ends; what has passed by then comes still.
func (c *Client) Capture(ctx context.Context, node, at string, to Capture) error {
	alone := context.WithoutCancel(ctx)
	k, err := c.begin(alone, callCapture, look{Node: node, Interface: at})
	if err != nil {
		return err
	}
	defer k.Close()
	defer k.leaveAfter(ctx)()
	var points []witness.Point
	for {
		var got captured
		if err := k.next(alone, &got); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return err
		}
		if got.Points != nil {
			points = got.Points
			if err := to.Points(points); err != nil {
				return err
			}
		}
		if got.Lost != "" {
			to.Lost(got.Lost)
		}
		var packets []witness.Packet
		for _, p := range got.Packets {
			if p.Point < 0 || p.Point >= len(points) {
				continue // another version's
			}
			direction := witness.In
			if p.Out {
				direction = witness.Out
			}
			// What cannot be parsed is shown all the same: a program may send anything.
			packet, _ := witness.Parse(time.Unix(0, p.At), points[p.Point], direction, p.Data)
			packets = append(packets, packet)
		}
		if len(packets) > 0 {
			if err := to.Packets(packets); err != nil {
				return err
			}
		}
	}
}
