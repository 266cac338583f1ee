package sim

import "p2pmodel/sim/document"

// ParseLabFile reads a file that has a lab under the key `lab`, and perhaps a
// timeline under `events`, whose times count from when the lab stands. The error
// is of type document.Errors.
func ParseLabFile(file string, data []byte) (*Lab, Timeline, error) {
	doc, err := document.Parse(file, data)
	if err != nil {
		return nil, nil, err
	}
	m := doc.Root().Map("lab", "events")
	before := doc.Root().Errors()
	lab := DecodeLab(m.Need("lab"))
	var events Timeline
	if doc.Root().Errors() == before { // else each name in them may be wrong
		events = DecodeTimeline(m.Get("events"), lab)
	}
	if err := doc.Err(); err != nil {
		return nil, nil, err
	}
	return lab, events, nil
}
