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
// points, becomes an interface; see NewWriter. points may be nil; it is for those
// at which nothing was seen, an interface without packets being evidence too.
func Write(w io.Writer, packets []witness.Packet, points []witness.Point) error {
	writer, err := NewWriter(w, allPoints(packets, points))
	if err != nil {
		return err
	}
	sorted := slices.Clone(packets)
	slices.SortStableFunc(sorted, func(a, b witness.Packet) int { return a.At.Compare(b.At) })
	for _, p := range sorted {
		if err := writer.Packet(p); err != nil {
			return err
		}
	}
	return writer.Flush()
}

// Writer writes a capture while it goes on.
type Writer struct {
	ng     *pcapgo.NgWriter
	number map[witness.Point]int
}

// NewWriter begins a file with these points as its interfaces, at least one. Each
// has the point's name ("nat-a:uplink") and raw IP packets (LINKTYPE_RAW) with
// times in nanoseconds and the direction as the node saw it.
func NewWriter(w io.Writer, points []witness.Point) (*Writer, error) {
	if len(points) == 0 {
		return nil, fmt.Errorf("pcapng: nothing was captured and no point named; a capture file needs an interface")
	}
	options := pcapgo.NgWriterOptions{SectionInfo: pcapgo.NgSectionInfo{Application: "p2pmodel"}}
	ng, err := pcapgo.NewNgWriterInterface(w, intf(points[0]), options)
	if err != nil {
		return nil, fmt.Errorf("pcapng: %w", err)
	}
	number := map[witness.Point]int{points[0]: 0}
	for _, p := range points[1:] {
		if number[p], err = ng.AddInterface(intf(p)); err != nil {
			return nil, fmt.Errorf("pcapng: interface %s: %w", p, err)
		}
	}
	return &Writer{ng, number}, nil
}

// Packet writes a packet that was captured at one of the points.
func (w *Writer) Packet(p witness.Packet) error {
	number, ok := w.number[p.Point]
	if !ok {
		return fmt.Errorf("pcapng: a packet at %s, which is no interface of this file", p.Point)
	}
	info := gopacket.CaptureInfo{
		Timestamp: p.At, CaptureLength: len(p.Data), Length: len(p.Data), InterfaceIndex: number,
	}
	flags := &pcapgo.NgEpbFlags{Direction: pcapgo.NgEpbFlagDirectionInbound}
	if p.Direction == witness.Out {
		flags.Direction = pcapgo.NgEpbFlagDirectionOutbound
	}
	if err := w.ng.WritePacketWithOptions(info, p.Data, pcapgo.NgPacketOptions{Flags: flags}); err != nil {
		return fmt.Errorf("pcapng: packet at %s: %w", p.Point, err)
	}
	return nil
}

// Flush writes what is held back: until then a reader of the file may see less.
func (w *Writer) Flush() error {
	if err := w.ng.Flush(); err != nil {
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
