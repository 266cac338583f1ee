// Package document reads YAML files that people write, strictly and with
// positions: whoever decodes a file walks its nodes, and everything that is
// wrong is collected with file, line and column, so that a person sees all of it
// at once.
//
//	doc, err := document.Parse("lab.yaml", data)
//	if err != nil {
//		return err // syntax
//	}
//	m := doc.Root().Map("title", "timeout") // other keys are errors
//	title := m.Need("title").Text()         // an error if it is missing
//	timeout := m.Get("timeout").Duration()  // 0 if it is missing
//	return doc.Err()
//
// Decoding methods never fail: they record the error in the document and give
// the zero value. Of YAML it takes the part that needs no explanation: mappings,
// lists and scalars. Anchors, aliases, merge keys, tags, complex keys and several
// documents in a file are refused with an error that says so.
package document

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

const (
	// MaxSize is the size in bytes of the largest file that Parse takes: some ten
	// thousand nodes. The parser's cost grows with the square of a mapping's size.
	MaxSize = 1 << 20
	// MaxDepth is how deep lists and mappings may nest on one line.
	MaxDepth = 64
)

// Document is a parsed file and what is wrong with it.
type Document struct {
	File string
	root *Node
	errs Errors

	referred, attached map[string][]byte // by the names in the file
	sealed             bool              // no files but the attached ones
}

// Parse reads a file's text. The error is of type Errors and is about YAML
// itself, double keys included; what the file means is for the decoder to check.
// An empty file has a root of kind Null.
func Parse(file string, data []byte) (doc *Document, err error) {
	doc = &Document{File: file}
	if len(data) > MaxSize {
		return nil, doc.fail(position{1, 1}, fmt.Sprintf("the file has %d bytes; the most is %d", len(data), MaxSize))
	}
	if i := firstInvalid(data); i >= 0 {
		line := 1 + bytes.Count(data[:i], []byte("\n"))
		return nil, doc.fail(position{line, 1}, "this line is not in UTF-8")
	}
	// The parser is a library's and reads files of strangers: should it break on
	// one, this is a bad file and no reason to end the program.
	defer func() {
		if broken := recover(); broken != nil {
			doc, err = nil, (&Document{File: file}).fail(position{1, 1}, fmt.Sprintf("this is not YAML that the parser understands (%v)", broken))
		}
	}()
	// A byte order mark and the line ends of Windows would shift positions.
	text := strings.ReplaceAll(strings.TrimPrefix(string(data), "\ufeff"), "\r\n", "\n")
	tokens := lexer.Tokenize(text)
	if doc.refuse(tokens); len(doc.errs) > 0 {
		return nil, doc.errs.sorted()
	}
	tree, perr := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if perr != nil {
		pos, message := position{1, 1}, perr.Error()
		var detailed yaml.Error
		if errors.As(perr, &detailed) {
			pos, message = at(detailed.GetToken()), explained(detailed.GetMessage())
		}
		return nil, doc.fail(pos, message)
	}
	var bodies []ast.Node
	for _, d := range tree.Docs {
		if d.Body != nil {
			bodies = append(bodies, d.Body)
		}
	}
	switch len(bodies) {
	case 0:
		doc.root = &Node{doc: doc, kind: Null, pos: position{1, 1}, key: position{1, 1}}
	case 1:
		doc.root = doc.convert(bodies[0], "", position{1, 1})
	default:
		doc.addf(at(bodies[1].GetToken()), "a second document starts here; a file holds one")
	}
	if len(doc.errs) > 0 {
		return nil, doc.errs.sorted()
	}
	return doc, nil
}

// firstInvalid is where data stops to be UTF-8, or -1.
func firstInvalid(data []byte) int {
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return -1
}

// Root is the whole file.
func (d *Document) Root() *Node { return d.root }

// Err gives all errors recorded so far as Errors, or nil.
func (d *Document) Err() error {
	if len(d.errs) == 0 {
		return nil
	}
	return d.errs.sorted()
}

// position is a place in the file, from 1.
type position struct{ line, column int }

// at is the place of a token; whatever the parser says, it is a place.
func at(t *token.Token) position {
	if t == nil || t.Position == nil {
		return position{1, 1}
	}
	return position{max(t.Position.Line, 1), max(t.Position.Column, 1)}
}

func (d *Document) addf(p position, format string, args ...any) {
	d.errs = append(d.errs, Error{d.File, p.line, p.column, fmt.Sprintf(format, args...)})
}

func (d *Document) fail(p position, message string) error {
	d.addf(p, "%s", message)
	return d.errs
}

// refused are the parts of YAML that files may not use.
var refused = map[token.Type]string{
	token.AnchorType:     "anchors (&) are not supported: write the value out; quote text that starts with &",
	token.AliasType:      "aliases (*) are not supported: write the value out; quote text that starts with *",
	token.TagType:        "tags (!) are not supported: quote text that starts with !",
	token.MergeKeyType:   "merge keys (<<) are not supported: write the keys out",
	token.MappingKeyType: "complex keys (?) are not supported: quote text that starts with ?",
	token.DirectiveType:  "directives (%) are not supported: quote text that starts with %",
}

// refuse records tokens that are refused, and nesting on one line that is
// deeper than any file needs: the parser's cost grows with its square.
func (d *Document) refuse(tokens token.Tokens) {
	flow, entries, line := 0, 0, 0
	for _, t := range tokens {
		if why, ok := refused[t.Type]; ok {
			d.addf(at(t), "%s", why)
		}
		if p := at(t); p.line != line {
			line, entries = p.line, 0
		}
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			flow++
		case token.SequenceEndType, token.MappingEndType:
			flow--
		case token.SequenceEntryType:
			entries++
		}
		if flow > MaxDepth || entries > MaxDepth {
			d.addf(at(t), "lists and mappings nest more than %d deep here", MaxDepth)
			return
		}
	}
}

// convert makes a Node of a parsed node. key is where its key stands, or the
// node itself for those that have none.
func (d *Document) convert(n ast.Node, name string, key position) *Node {
	out := &Node{doc: d, name: name, key: key, pos: key}
	if n == nil {
		return out
	}
	t := n.GetToken()
	out.pos = at(t)
	switch n := n.(type) {
	case *ast.NullNode:
		out.kind = Null
		if t.Type == token.ImplicitNullType {
			out.pos = key
		}
	case *ast.BoolNode:
		out.kind, out.text = Bool, t.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		out.kind, out.text = Number, t.Value
	case *ast.StringNode:
		out.kind, out.text = Text, n.Value
	case *ast.LiteralNode:
		out.kind, out.text = Text, n.Value.Value
	case *ast.SequenceNode:
		out.kind = List
		for _, v := range n.Values {
			out.items = append(out.items, d.convert(v, name, at(v.GetToken())))
		}
	case *ast.MappingNode:
		out.kind = Mapping
		seen := make(map[string]position, len(n.Values))
		for _, v := range n.Values {
			d.convertEntry(out, v, seen)
		}
		if !n.IsFlowStyle && len(out.items) > 0 {
			out.pos = out.items[0].key
		}
	case *ast.MappingValueNode:
		out.kind = Mapping
		d.convertEntry(out, n, map[string]position{})
		if len(out.items) > 0 {
			out.pos = out.items[0].key
		}
	default:
		d.addf(out.pos, "%s are not supported here", strings.ToLower(n.Type().String()))
	}
	return out
}

// convertEntry appends an entry to the mapping m, whose keys so far stand where
// seen says.
func (d *Document) convertEntry(m *Node, v *ast.MappingValueNode, seen map[string]position) {
	t := v.Key.GetToken()
	name := t.Value
	switch key := v.Key.(type) {
	case *ast.StringNode:
		name = key.Value
	case *ast.BoolNode, *ast.IntegerNode, *ast.FloatNode:
		// As written: a host may be called 4g, 5 or 1e3.
	default:
		d.addf(at(t), "%q is no name of a key; quote it if it is meant to be one", name)
		return
	}
	if first, twice := seen[name]; twice {
		d.addf(at(t), "%q is here twice; the first is on line %d", name, first.line)
		return
	}
	seen[name] = at(t)
	m.items = append(m.items, d.convert(v.Value, name, at(t)))
}
