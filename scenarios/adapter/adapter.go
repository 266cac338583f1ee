// Package adapter reads what a program that stands in a peer's place says of
// itself: a JSON object a line on its standard output, as docs/programs.md has it
// field by field. Lines that are none are the program's log.
//
// Nothing that a program says is evidence of a path: events only tell the
// laboratory when to look.
package adapter

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf8"
)

// Kind is what an event is about.
type Kind string

// The events.
const (
	// Ready: the program is ready, so that what comes after it may start.
	Ready Kind = "ready"
	// Registered: it has reached what introduces it to others.
	Registered Kind = "registered"
	// Introduced: it knows of the peer, and begins to look for a path.
	Introduced Kind = "introduced"
	// Settled: its search for a path to the peer is over, whatever came of it. It
	// may come again.
	Settled Kind = "settled"
	// Lost: the path to the peer is gone, and it looks for another.
	Lost Kind = "lost"
)

var kinds = map[Kind]bool{Ready: false, Registered: false, Introduced: true, Settled: true, Lost: true}

// Event is a line that a program has said.
type Event struct {
	Kind Kind `json:"event"`
	// Peer is the other peer's name in the scenario: of introduced, settled, lost.
	Peer string `json:"peer,omitempty"`
	// Path is what the program believes, for the log: any text.
	Path string `json:"path,omitempty"`
	// Text is anything else, for the log.
	Text string `json:"text,omitempty"`
}

// MaxText is the size in bytes from which texts of events are cut.
const MaxText = 1024

// Decode reads a line. ok is false for a line that is no JSON object: it is one of
// the program's log. An error says what is wrong with an object; one of an unknown
// kind is no error of the program's, since a later version may know it.
func Decode(line []byte) (e Event, ok bool, err error) {
	line = bytes.TrimSpace(line)
	if len(line) == 0 || line[0] != '{' {
		return Event{}, false, nil
	}
	if err := json.Unmarshal(line, &e); err != nil {
		return Event{}, true, fmt.Errorf("this is no event: %w", err)
	}
	for _, text := range []*string{&e.Peer, &e.Path, &e.Text} {
		*text = cut(*text)
	}
	ofPeer, known := kinds[e.Kind]
	switch {
	case e.Kind == "":
		return Event{}, true, fmt.Errorf(`this is no event: it has no "event"`)
	case !known:
		return Event{}, true, fmt.Errorf("unknown event %q is ignored", cut(string(e.Kind)))
	case ofPeer && e.Peer == "":
		return Event{}, true, fmt.Errorf(`the event %q has no "peer"`, e.Kind)
	}
	return e, true, nil
}

// cut bounds a text, between characters.
func cut(text string) string {
	if len(text) <= MaxText {
		return text
	}
	end := MaxText
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end]
}

// String puts the event into words.
func (e Event) String() string {
	text := string(e.Kind)
	switch e.Kind {
	case Introduced:
		text = "introduced to " + e.Peer
	case Settled:
		text = "checks with " + e.Peer + " settled"
	case Lost:
		text = "path to " + e.Peer + " lost"
	}
	if e.Path != "" {
		text += ", by its own words " + e.Path
	}
	if e.Text != "" {
		text += ": " + e.Text
	}
	return text
}
