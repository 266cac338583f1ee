// Package pcapng writes captured packets as a file that Wireshark and its like
// read: one file a lab, one interface a point of capture.
package pcapng

import (
	"fmt"
	"io"
	"slices"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"p2pmodel/sim/witness"
)

// Write writes packets in order of time. Each point of a packet, and each of
// points, becomes an interface with its name ("nat-a:uplink"), of raw IP packets
// (LINKTYPE_RAW) with times in nanoseconds and the direction as the node saw it.
// points may be nil; it is for those at which nothing was seen, an interface
// without packets being evidence too.
func Write(w io.Writer, packets []witness.Packet, points []witness.Point) error {
	points = allPoints(packets, points)
	if len(points) == 0 {
		return fmt.Errorf("pcapng: nothing was captured and no point named; a capture file needs an interface")
	}
	number := make(map[witness.Point]int, len(points))
	options := pcapgo.NgWriterOptions{SectionInfo: pcapgo.NgSectionInfo{Application: "p2pmodel"}}
	ng, err := pcapgo.NewNgWriterInterface(w, intf(points[0]), options)
	if err != nil {
		return fmt.Errorf("pcapng: %w", err)
	}
	for i, p := range points {
		number[p] = i
		if i > 0 {
			if _, err := ng.AddInterface(intf(p)); err != nil {
				return fmt.Errorf("pcapng: interface %s: %w", p, err)
			}
		}
	}
	sorted := slices.Clone(packets)
	slices.SortStableFunc(sorted, func(a, b witness.Packet) int { return a.At.Compare(b.At) })
	for _, p := range sorted {
		info := gopacket.CaptureInfo{
			Timestamp: p.At, CaptureLength: len(p.Data), Length: len(p.Data), InterfaceIndex: number[p.Point],
		}
		flags := &pcapgo.NgEpbFlags{Direction: pcapgo.NgEpbFlagDirectionInbound}
		if p.Direction == witness.Out {
			flags.Direction = pcapgo.NgEpbFlagDirectionOutbound
		}
		if err := ng.WritePacketWithOptions(info, p.Data, pcapgo.NgPacketOptions{Flags: flags}); err != nil {
			return fmt.Errorf("pcapng: packet at %s: %w", p.Point, err)
		}
	}
	if err := ng.Flush(); err != nil {
		return fmt.Errorf("pcapng: %w", err)
	}
	return nil
}

// intf describes a point as an interface.
func intf(p witness.Point) pcapgo.NgInterface {
	return pcapgo.NgInterface{Name: p.String(), LinkType: layers.LinkTypeRaw, TimestampResolution: 9}
}

// allPoints gives every point once, in their own order.
func allPoints(packets []witness.Packet, points []witness.Point) []witness.Point {
	seen := map[witness.Point]bool{}
	for _, p := range points {
		seen[p] = true
	}
	for _, p := range packets {
		seen[p.Point] = true
	}
	all := make([]witness.Point, 0, len(seen))
	for p := range seen {
		all = append(all, p)
	}
	slices.SortFunc(all, witness.Point.Compare)
	return all
}
