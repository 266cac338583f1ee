//go:build linux

package specs_test

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/gob"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/onsi/ginkgo/v2/types"
	. "github.com/onsi/gomega"

	"p2pmodel/scenarios"
	"p2pmodel/sim/witness"
)

// partName marks the report entries that carry results. Ginkgo passes them from
// its parallel processes to the first one, which writes the report.
const partName = "result"

// part is a result with everything that was recorded, on its way between
// processes.
type part struct {
	Result *scenarios.Result
	// Packets are those of its runs, each run's own first, in few bytes: as fields of
	// structs they would take a minute under the race detector.
	Packets [][]byte
}

// partOf takes away what the other side has or computes.
func partOf(res *scenarios.Result) part {
	p := part{Result: new(scenarios.Result)}
	*p.Result = *res
	p.Result.Scenario = nil
	p.Result.Controls = slices.Clone(res.Controls)
	for _, run := range p.runs() {
		if *run == nil {
			p.Packets = append(p.Packets, nil)
			continue
		}
		p.Packets = append(p.Packets, packed((*run).Packets))
		bare := **run
		bare.Plan, bare.Packets = nil, nil
		*run = &bare
	}
	return p
}

// runs are those of the result, in the order of Packets.
func (p part) runs() []**scenarios.Run {
	all := []**scenarios.Run{&p.Result.Run}
	for i := range p.Result.Controls {
		all = append(all, &p.Result.Controls[i].Run)
	}
	return all
}

// packed writes packets one after another: time, direction, lengths, names and bytes.
func packed(packets []witness.Packet) []byte {
	var b []byte
	for i := range packets {
		p := &packets[i]
		b = binary.BigEndian.AppendUint64(b, uint64(p.At.UnixNano()))
		b = append(b, byte(p.Direction))
		for _, field := range [][]byte{[]byte(p.Point.Node), []byte(p.Point.Interface), p.Data} {
			b = append(binary.BigEndian.AppendUint32(b, uint32(len(field))), field...)
		}
	}
	return b
}

// unpacked reads what packed wrote.
func unpacked(b []byte) (packets []witness.Packet) {
	take := func(n int) (field []byte) {
		field, b = b[:n:n], b[n:]
		return field
	}
	field := func() []byte { return take(int(binary.BigEndian.Uint32(take(4)))) }
	for len(b) > 0 {
		at := time.Unix(0, int64(binary.BigEndian.Uint64(take(8))))
		p := witness.Packet{At: at, Direction: witness.Direction(take(1)[0])}
		p.Point.Node, p.Point.Interface, p.Data = string(field()), string(field()), field()
		packets = append(packets, p)
	}
	return packets
}

// String keeps Ginkgo from printing all packets as the entry's representation.
func (p part) String() string { return "result of " + p.Result.ID }

// MarshalJSON implements json.Marshaler: a compressed gob, since a run's packets
// would be unwieldy as JSON.
func (p part) MarshalJSON() ([]byte, error) {
	var buf bytes.Buffer
	zw, err := gzip.NewWriterLevel(&buf, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	if err := gob.NewEncoder(zw).Encode(p); err != nil {
		return nil, fmt.Errorf("send the result of %s: %w", p.Result.ID, err)
	}
	if err := zw.Close(); err != nil {
		return nil, err
	}
	return json.Marshal(buf.Bytes())
}

// resultOf is the way back. An entry of the first process itself still has its
// value; one of another process has the JSON only.
func resultOf(entry types.ReportEntryValue) *scenarios.Result {
	text := []byte(entry.AsJSON)
	if own, is := entry.GetRawValue().(part); is {
		var err error
		text, err = own.MarshalJSON()
		Expect(err).NotTo(HaveOccurred())
	}
	var data []byte
	Expect(json.Unmarshal(text, &data)).To(Succeed())
	zr, err := gzip.NewReader(bytes.NewReader(data))
	Expect(err).NotTo(HaveOccurred())
	var got part
	Expect(gob.NewDecoder(zr).Decode(&got)).To(Succeed())
	sc, err := scenarios.Find(got.Result.ID)
	Expect(err).NotTo(HaveOccurred())
	got.Result.Scenario = sc
	for i, run := range got.runs() {
		if *run != nil {
			(*run).Packets = unpacked(got.Packets[i])
			Expect((*run).Restore()).To(Succeed())
		}
	}
	return got.Result
}

func sortByCatalogue(results []*scenarios.Result) {
	all, err := scenarios.Catalogue()
	Expect(err).NotTo(HaveOccurred())
	index := map[string]int{}
	for i, sc := range all {
		index[sc.ID] = i
	}
	slices.SortFunc(results, func(a, b *scenarios.Result) int { return index[a.ID] - index[b.ID] })
}
