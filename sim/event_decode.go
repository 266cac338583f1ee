package sim

import (
	"strings"

	"p2pmodel/sim/document"
)

// MaxTimes bounds how often a link flaps, and how often an event of a timeline
// is done.
const MaxTimes = 1000

// DecodeEvent reads an event from the value of its key: the node is named by the
// kind, as in `reboot: {router: nat-i}`. Names are checked against the lab; nil
// leaves them unchecked. What is wrong is recorded in the node's document.
func DecodeEvent(n *document.Node, lab *Lab) Event {
	form, known := formOf(EventKind(n.Name()))
	if !known {
		n.KeyErrorf("unknown event %q%s", n.Name(), document.Suggest(n.Name(), kindWords()))
		return Event{}
	}
	d := eventDecoder{event: Event{Kind: form.kind}, lab: lab, at: map[string]*document.Node{}}
	before := n.Errors()
	d.find(form, n)
	if n.Errors() > before {
		return d.event
	}
	broken := map[string]bool{}
	for key, v := range d.at {
		before := n.Errors()
		d.read(key, v)
		broken[key] = n.Errors() > before
	}
	if form.kind == EventImpair {
		before := n.Errors()
		var k Link
		k.impairments(n.Map(form.allKeys()...))
		d.event.Impairments = Impairments{Up: k.Up, Down: k.Down}
		broken[keyLink] = broken[keyLink] || n.Errors() > before
	}
	for _, p := range d.event.problems(lab) {
		switch at := d.at[p.key]; {
		case broken[p.key]: // one mistake, one message
		case at == nil:
			n.KeyErrorf("%s", p.message)
		default:
			at.Errorf("%s", p.message)
		}
	}
	return d.event
}

func kindWords() []string {
	var words []string
	for _, k := range EventKinds() {
		words = append(words, string(k))
	}
	return words
}

// eventDecoder reads one event.
type eventDecoder struct {
	event Event
	lab   *Lab
	at    map[string]*document.Node // the keys that are there
}

// find finds the node of each key.
func (d *eventDecoder) find(form eventForm, n *document.Node) {
	keys := form.allKeys()
	switch {
	case len(keys) == 0:
		if n.Kind() == document.Mapping || !n.Bool() {
			n.Errorf("say %s: true", form.kind)
		}
	case n.Kind() == document.Mapping || form.alone == "":
		for _, v := range n.Map(keys...).Entries() {
			d.at[v.Name()] = v
		}
	default:
		d.at[form.alone] = n
	}
}

// read reads one key.
func (d *eventDecoder) read(key string, n *document.Node) {
	e := &d.event
	switch key {
	case keyRouter:
		e.Router = n.Text()
	case keyNewAddress:
		e.NewAddress = n.Bool()
	case keyNAT:
		e.NAT, e.Preset = DecodeNAT(n)
	case keyHost:
		e.Host = n.Text()
	case keyUplink:
		e.Uplink = n.Text()
	case keyGap:
		e.Gap = n.Duration()
	case keyOverlap:
		e.Overlap = n.Duration()
	case keyTo:
		e.To = append([]string{}, n.Texts()...)
	case keyGroups:
		for _, g := range n.List() {
			e.Groups = append(e.Groups, g.Texts())
		}
	case keyLink:
		e.Link = d.link(n.Text())
	case keyDirection:
		e.Direction = Direction(n.Word("direction", string(Up), string(Down)))
	case keyTimes:
		e.Times = n.Int(1, MaxTimes)
	case keyEvery:
		e.Every = n.Duration()
	case keyFor:
		e.For = n.Duration()
	case keyProgram:
		e.Program = n.Text()
	case keySeed:
		e.Seed = n.Uint64()
	}
	switch {
	case e.Kind == EventFlap && key == keyDown:
		e.Down = n.Duration()
	case e.Kind == EventFlap && key == keyUp:
		e.Up = n.Duration()
	}
}

// link gives the full name of a link: what has one uplink only is named by the
// node.
func (d *eventDecoder) link(text string) LinkID {
	node, uplink, _ := strings.Cut(text, "/")
	if d.lab != nil {
		if id, ok := d.lab.LinkID(node, uplink); ok {
			return id
		}
	} else if uplink == "" && node != "" {
		uplink = DefaultUplink
	}
	return LinkID{node, uplink}
}
