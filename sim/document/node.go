package document

import (
	"fmt"
	"strconv"
)

// Kind is what a node is.
type Kind uint8

// The kinds. Absent is what Get gives for a key that is not there.
const (
	Absent Kind = iota
	Null
	Bool
	Number
	Text
	List
	Mapping
)

func (k Kind) String() string {
	return [...]string{"nothing", "null", "a yes-or-no value", "a number", "text", "a list", "a mapping"}[k]
}

// Node is one value of a file. Decoding an absent node gives the zero value and
// no error, so that optional keys need no code; Need is for the others.
type Node struct {
	doc   *Document
	kind  Kind
	name  string   // of the key, or of the list's key
	key   position // of the key; of the node where it has none
	pos   position
	text  string  // scalars, as written (text: its value)
	items []*Node // of a list or mapping
}

// Kind is what the node is.
func (n *Node) Kind() Kind { return n.kind }

// Exists reports whether the node is in the file. An explicit null exists.
func (n *Node) Exists() bool { return n.kind != Absent }

// File is the name of the file that the node is of, as given to Parse.
func (n *Node) File() string { return n.doc.File }

// Name is the key that the node is the value of; of an element, the list's key.
func (n *Node) Name() string { return n.name }

// Line and Column say where the node is, from 1.
func (n *Node) Line() int { return n.pos.line }

// Column is the column in characters, from 1.
func (n *Node) Column() int { return n.pos.column }

// Errorf records an error at the node's value.
func (n *Node) Errorf(format string, args ...any) { n.doc.addf(n.pos, format, args...) }

// KeyErrorf records an error at the node's key.
func (n *Node) KeyErrorf(format string, args ...any) { n.doc.addf(n.key, format, args...) }

// wrong records that the node is of the wrong kind, with an example of what is
// wanted.
func (n *Node) wrong(want string) {
	if n.name == "" {
		n.Errorf("want %s, got %s", want, n.describe())
		return
	}
	n.Errorf("%s: want %s, got %s", n.name, want, n.describe())
}

// describedLength is how many characters of a value an error repeats.
const describedLength = 60

func (n *Node) describe() string {
	switch n.kind {
	case Text, Number, Bool:
		if r := []rune(n.text); len(r) > describedLength {
			return fmt.Sprintf("%q…", string(r[:describedLength]))
		}
		return fmt.Sprintf("%q", n.text)
	default:
		return n.kind.String()
	}
}

// Map is a mapping whose keys have been checked.
type Map struct{ node *Node }

// Map takes the node as a mapping with the given keys; other keys are errors,
// with the nearest allowed key. No allowed keys at all means any: the keys are
// names. A null is an empty mapping.
func (n *Node) Map(allowed ...string) Map {
	switch n.kind {
	case Mapping:
	case Absent, Null:
		return Map{&Node{doc: n.doc, name: n.name, key: n.key, pos: n.pos}}
	default:
		n.wrong("a mapping (name: value)")
		return Map{&Node{doc: n.doc, name: n.name, key: n.key, pos: n.pos}}
	}
	if len(allowed) > 0 {
		for _, v := range n.items {
			if !contains(allowed, v.name) {
				v.KeyErrorf("unknown key %q%s", v.name, Suggest(v.name, allowed))
			}
		}
	}
	return Map{n}
}

// Get gives the value of a key; an absent node if there is none.
func (m Map) Get(key string) *Node {
	for _, v := range m.node.items {
		if v.name == key {
			return v
		}
	}
	return &Node{doc: m.node.doc, name: key, key: m.node.key, pos: m.node.key}
}

// Need is Get for keys that must be there.
func (m Map) Need(key string) *Node {
	v := m.Get(key)
	if !v.Exists() {
		v.Errorf("%q is missing", key)
	}
	return v
}

// Has reports whether the key is there.
func (m Map) Has(key string) bool { return m.Get(key).Exists() }

// Entries gives the values in the order of the file; Name of each is its key.
func (m Map) Entries() []*Node { return m.node.items }

// Keys gives the keys in the order of the file.
func (m Map) Keys() []string {
	keys := make([]string, len(m.node.items))
	for i, v := range m.node.items {
		keys[i] = v.name
	}
	return keys
}

// List takes the node as a list. Absent gives none; null is an error, as an
// empty list is written [].
func (n *Node) List() []*Node {
	switch n.kind {
	case Absent:
		return nil
	case List:
		return n.items
	}
	n.wrong("a list ([a, b])")
	return nil
}

// Find descends by keys, and into lists by numbers from 0, and gives the deepest
// node that exists on the way: where to point for an error about path.
func (n *Node) Find(path ...string) *Node {
	for _, key := range path {
		if i, err := strconv.Atoi(key); n.kind == List && err == nil && i >= 0 && i < len(n.items) {
			n = n.items[i]
			continue
		}
		if n.kind != Mapping {
			break
		}
		v := (Map{n}).Get(key)
		if !v.Exists() {
			break
		}
		n = v
	}
	return n
}

// Errors counts the errors recorded in the document so far. A decoder that
// compares two counts knows whether what it decoded in between was sound.
func (n *Node) Errors() int { return len(n.doc.errs) }

func contains(words []string, word string) bool {
	for _, w := range words {
		if w == word {
			return true
		}
	}
	return false
}
