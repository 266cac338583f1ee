package sim

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/goccy/go-yaml"

	"p2pmodel/sim/document"
)

// ParseEventText reads an event from one line, the form of command lines:
//
//	reboot router=nat-i new-address=true
//	cut nat-i for=2s
//	restrict host=a to=relay,rendezvous
//	partition a,b|c
//	impair link=nat-i delay=40ms up={rate: 1Mbit}
//
// Lists are names with commas between, groups have | between; brackets and
// braces hold YAML. The error says what is wrong, with the nearest valid word.
func ParseEventText(lab *Lab, line string) (Event, error) {
	words, err := eventWords(line)
	if err != nil {
		return Event{}, err
	}
	return ParseEventWords(lab, words)
}

// ParseEventWords is ParseEventText for a line that a shell has split already.
func ParseEventWords(lab *Lab, words []string) (Event, error) {
	if len(words) == 0 {
		return Event{}, errors.New("no event; known: " + strings.Join(kindWords(), ", "))
	}
	kind := words[0]
	form, known := formOf(EventKind(kind))
	if !known {
		return Event{}, fmt.Errorf("unknown event %q%s", kind, document.Suggest(kind, kindWords()))
	}
	yaml, err := form.yaml(words[1:])
	if err != nil {
		return Event{}, fmt.Errorf("%s: %w\n%s", kind, err, form.told())
	}
	doc, err := document.Parse("event", yaml)
	if err != nil {
		return Event{}, plain(kind, form, err)
	}
	e := DecodeEvent(doc.Root().Map().Get(kind), lab)
	if err := doc.Err(); err != nil {
		return Event{}, plain(kind, form, err)
	}
	return e, nil
}

// plain takes the places out of errors: a line needs none.
func plain(kind string, form eventForm, err error) error {
	var all document.Errors
	if !errors.As(err, &all) {
		return err
	}
	var messages []string
	for _, e := range all {
		messages = append(messages, e.Message)
	}
	return fmt.Errorf("%s: %s\n%s", kind, strings.Join(messages, "; "), form.told())
}

// EventUsage is a line for each kind of event, for help.
func EventUsage() []string {
	var lines []string
	for _, f := range eventForms {
		lines = append(lines, f.usage())
	}
	return lines
}

// EventHelp says in a sentence what events of a kind do.
func EventHelp(kind EventKind) string {
	f, _ := formOf(kind)
	return f.help
}

// told is how an error tells the form of the line; that of a link's impairments is
// too long for it.
func (f eventForm) told() string {
	if usage := f.usage(); len(usage) < 120 {
		return "usage: " + usage
	}
	return "usage: `natlab event --help` has the form"
}

// usage is the form of the line.
func (f eventForm) usage() string {
	words := []string{string(f.kind)}
	for _, key := range f.allKeys() {
		example := cmp.Or(keyExamples[key], "…")
		word := key + "=" + example
		if key == f.alone {
			word = "[" + key + "=]" + example
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

// keyExamples are what values of keys look like, of those that are soon said.
var keyExamples = map[string]string{
	keyRouter: "ROUTER", keyNewAddress: "true|false", keyNAT: "BEHAVIOUR", keyHost: "HOST", keyUplink: "UPLINK",
	keyGap: "DURATION", keyOverlap: "DURATION", keyTo: "HOST,…", keyGroups: "HOST,…|HOST,…", keyLink: "NODE[/UPLINK]",
	keyDirection: "up|down", keyTimes: "N", keyEvery: "DURATION", keyFor: "DURATION",
	keyProgram: "PROGRAM", keySeed: "N", "delay": "DURATION", "jitter": "DURATION", "reorder": "true|false",
	"loss": "PROBABILITY", "rate": "RATE", "queue": "SIZE",
}

// yaml gives the words behind the kind as the file has them.
func (f eventForm) yaml(words []string) ([]byte, error) {
	keys := f.allKeys()
	if len(keys) == 0 {
		if len(words) > 0 {
			return nil, fmt.Errorf("%q is too much", words[0])
		}
		return fmt.Appendf(nil, "%s: true\n", f.kind), nil
	}
	var items []string
	var seen []string
	for i, word := range words {
		key, value, found := strings.Cut(word, "=")
		if found && !slices.Contains(keys, key) {
			return nil, fmt.Errorf("unknown key %q%s", key, document.Suggest(key, keys))
		}
		if !found {
			if i > 0 || f.alone == "" {
				return nil, fmt.Errorf("%q has no key", word)
			}
			key, value = f.alone, word
		}
		if slices.Contains(seen, key) {
			return nil, fmt.Errorf("%q is here twice", key)
		}
		seen = append(seen, key)
		items = append(items, key+": "+valueYAML(key, value))
	}
	return []byte(string(f.kind) + ": " + flow(items) + "\n"), nil
}

// valueYAML gives a value of a line as YAML.
func valueYAML(key, value string) string {
	if value != "" && strings.ContainsRune(`{["`, rune(value[0])) {
		return value
	}
	switch key {
	case keyTo:
		return listYAML(value)
	case keyGroups:
		var groups []string
		for g := range strings.SplitSeq(value, "|") {
			groups = append(groups, listYAML(g))
		}
		return "[" + strings.Join(groups, ", ") + "]"
	case keyRouter, keyNAT, keyHost, keyUplink, keyLink, keyProgram, keyDirection:
		return quoted(value)
	}
	if plainScalar(value) {
		return value
	}
	return quoted(value)
}

// plainScalar reports whether YAML takes the value for what it looks like.
func plainScalar(value string) bool {
	for _, c := range value {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !letter && c != '.' && c != '%' && c != '/' && c != 'µ' && c != '-' && c != '+' {
			return false
		}
	}
	return value != "" && value[0] != '%' && value[0] != '-'
}

func listYAML(value string) string {
	if value == "" {
		return "[]"
	}
	var names []string
	for name := range strings.SplitSeq(value, ",") {
		names = append(names, quoted(name))
	}
	return "[" + strings.Join(names, ", ") + "]"
}

// quoted is a text in the form that YAML and JSON share.
func quoted(text string) string {
	b, _ := json.Marshal(text) // of text there is no error
	return string(b)
}

// eventWords splits a line at spaces outside of brackets and quotes.
func eventWords(line string) ([]string, error) {
	var words []string
	var word strings.Builder
	depth, quotes := 0, false
	for _, c := range line {
		switch {
		case c == '"':
			quotes = !quotes
		case quotes:
		case c == '[' || c == '{':
			depth++
		case c == ']' || c == '}':
			depth--
		case unicode.IsSpace(c):
			if depth <= 0 {
				if word.Len() > 0 {
					words = append(words, word.String())
					word.Reset()
				}
				continue
			}
		}
		word.WriteRune(c)
	}
	if depth != 0 || quotes {
		return nil, fmt.Errorf("brackets or quotes are not closed in %q", line)
	}
	if word.Len() > 0 {
		words = append(words, word.String())
	}
	return words, nil
}

// field is a key of an event with its value as YAML and as words.
type field struct{ key, yaml, text string }

// fields are the keys that say something.
func (e Event) fields() []field {
	var all []field
	name := func(key, value string) {
		if value != "" {
			all = append(all, field{key, quoted(value), value})
		}
	}
	plain := func(key, value string) { all = append(all, field{key, value, value}) }
	duration := func(key string, d time.Duration) {
		if d != 0 {
			plain(key, d.String())
		}
	}
	name(keyRouter, e.Router)
	if e.NewAddress {
		plain(keyNewAddress, "true")
	}
	if e.Kind == EventSwap {
		if e.Preset != "" {
			name(keyNAT, e.Preset)
		} else {
			name(keyNAT, e.NAT.String())
		}
	}
	name(keyProgram, e.Program)
	name(keyHost, e.Host)
	name(keyUplink, e.Uplink)
	duration(keyGap, e.Gap)
	duration(keyOverlap, e.Overlap)
	if e.Kind == EventRestrict {
		all = append(all, field{keyTo, listYAML(strings.Join(e.To, ",")), strings.Join(e.To, ",")})
	}
	if e.Kind == EventPartition {
		var yaml, text []string
		for _, g := range e.Groups {
			yaml, text = append(yaml, listYAML(strings.Join(g, ","))), append(text, strings.Join(g, ","))
		}
		all = append(all, field{keyGroups, "[" + strings.Join(yaml, ", ") + "]", strings.Join(text, "|")})
	}
	if e.Link.Node != "" {
		name(keyLink, e.Link.String())
	}
	name(keyDirection, string(e.Direction))
	if e.Times != 0 {
		plain(keyTimes, fmt.Sprint(e.Times))
	}
	duration(keyDown, e.Down)
	duration(keyUp, e.Up)
	duration(keyEvery, e.Every)
	if e.Kind == EventImpair {
		for _, item := range linkItems(Link{Up: e.Impairments.Up, Down: e.Impairments.Down}) {
			key, value, _ := strings.Cut(item, ": ")
			plain(key, value)
		}
	}
	duration(keyFor, e.For)
	if e.Seed != 0 {
		plain(keySeed, fmt.Sprint(e.Seed))
	}
	return all
}

// String gives the event on one line, as ParseEventText reads it.
func (e Event) String() string {
	words := []string{string(e.Kind)}
	for _, f := range e.fields() {
		text := f.text
		if strings.ContainsFunc(text, unicode.IsSpace) && text[0] != '{' && text[0] != '[' {
			text = quoted(text)
		}
		words = append(words, f.key+"="+text)
	}
	return strings.Join(words, " ")
}

// YAML gives the event on one line as files have it: `reboot: {router: "nat-i"}`.
func (e Event) YAML() string {
	form, _ := formOf(e.Kind)
	if len(form.allKeys()) == 0 {
		return string(e.Kind) + ": true"
	}
	var items []string
	for _, f := range e.fields() {
		items = append(items, f.key+": "+f.yaml)
	}
	return string(e.Kind) + ": " + flow(items)
}

// MarshalJSON gives the event in the form that files have.
func (e Event) MarshalJSON() ([]byte, error) {
	return yaml.YAMLToJSON([]byte("{" + e.YAML() + "}"))
}

// UnmarshalJSON reads what MarshalJSON gives. Names are not checked.
func (e *Event) UnmarshalJSON(data []byte) error {
	doc, err := document.Parse("event", data)
	if err != nil {
		return err
	}
	entries := doc.Root().Map().Entries()
	if len(entries) != 1 {
		return errors.New("an event has one key, its kind")
	}
	got := DecodeEvent(entries[0], nil)
	if err := doc.Err(); err != nil {
		return err
	}
	*e = got
	return nil
}
