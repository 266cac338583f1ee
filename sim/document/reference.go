package document

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// Reference writes the mappings that a schema describes as sections of a Markdown
// page: one for each mapping, with a table of its keys, the values that they take,
// their defaults, and what they are for. A mapping that stands in several places has
// one section, at the first of them, and links to it.
type Reference struct {
	out      bytes.Buffer
	sections map[string]string // mapping, as JSON without its description → its path
	waiting  []section         // met, and not yet written
}

type section struct {
	path   string
	schema map[string]any
}

// Write adds the sections of a schema. The path names its mapping in headings, as
// `lab`; empty: the file itself.
func (r *Reference) Write(path string, s Schema) {
	if r.sections == nil {
		r.sections = map[string]string{}
	}
	r.value(path, normal(s))
	r.flush()
}

// flush writes the sections of mappings that were met, each with all below it.
func (r *Reference) flush() {
	met := r.waiting
	r.waiting = nil
	for _, s := range met {
		r.section(s)
	}
}

// Bytes is the page so far.
func (r *Reference) Bytes() []byte { return r.out.Bytes() }

// section writes a mapping, and all below it. Keys that it cannot do without come
// first.
func (r *Reference) section(s section) {
	title := "The file"
	if s.path != "" {
		title = "`" + s.path + "`"
	}
	fmt.Fprintf(&r.out, "\n### %s\n\n", title)
	if text, ok := s.schema["description"].(string); ok && s.path != "" {
		fmt.Fprintf(&r.out, "%s\n\n", sentences(text))
	}
	if text := together(s.schema); text != "" {
		fmt.Fprintf(&r.out, "%s\n\n", text)
	}
	r.out.WriteString("| key | value | default | |\n|---|---|---|---|\n")
	properties := s.schema["properties"].(map[string]any)
	required := texts(s.schema["required"])
	keys := slices.SortedFunc(maps.Keys(properties), func(a, b string) int {
		if x, y := slices.Contains(required, a), slices.Contains(required, b); x != y {
			if x {
				return -1
			}
			return 1
		}
		return strings.Compare(a, b)
	})
	for _, key := range keys {
		property := properties[key].(map[string]any)
		def := ""
		switch value, ok := property["default"]; {
		case slices.Contains(required, key):
			def = "required"
		case ok:
			def = code(value)
		}
		description, _ := property["description"].(string)
		value := r.value(join(s.path, key), property)
		fmt.Fprintf(&r.out, "| `%s` | %s | %s | %s |\n", key, cell(value), cell(def), cell(sentences(description)))
	}
	r.flush()
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// manyWords are more than a table shows; they have pages of their own.
const manyWords = 16

// value says in words what a schema takes; a mapping with keys of its own gets a
// section, and the words link to it.
func (r *Reference) value(path string, s map[string]any) string {
	if name, ok := quantityName(s); ok {
		return name
	}
	if words, ok := s["enum"].([]any); ok {
		if len(words) > manyWords {
			return fmt.Sprintf("%s, … (%d words)", list(words[:5]), len(words))
		}
		return list(words)
	}
	if only, ok := s["const"]; ok {
		return code(only)
	}
	if alternatives, ok := s["anyOf"].([]any); ok && s["type"] == nil {
		var all []string
		for _, a := range alternatives {
			a := maps.Clone(a.(map[string]any))
			if a["description"] == nil {
				a["description"] = s["description"]
			}
			if text := r.value(path, a); text != "" && !slices.Contains(all, text) {
				all = append(all, text)
			}
		}
		return strings.Join(all, "; or ")
	}
	types := texts(s["type"])
	if only, ok := s["type"].(string); ok {
		types = []string{only}
	}
	var all []string
	for _, t := range types {
		switch t {
		case "object":
			if _, ok := s["properties"]; ok {
				all = append(all, r.mapping(path, s))
				continue
			}
			inner, _ := s["additionalProperties"].(map[string]any)
			all = append(all, "name → "+r.value(join(path, "NAME"), inner))
		case "array":
			items, _ := s["items"].(map[string]any)
			inner := r.value(path+"[]", items)
			if n, ok := s["minItems"]; ok && n == s["maxItems"] {
				all = append(all, fmt.Sprintf("list of %v: %s", n, inner))
			} else {
				all = append(all, "list of "+inner)
			}
		case "string":
			all = append(all, text(s))
		case "integer", "number":
			all = append(all, span(s, t))
		case "boolean":
			all = append(all, "`true`, `false`")
		case "null": // an empty entry is an empty mapping
		default:
			all = append(all, t)
		}
	}
	return strings.Join(all, " or ")
}

// mapping gives the link to the section of a mapping, and sees to it that there is
// one.
func (r *Reference) mapping(path string, s map[string]any) string {
	bare := maps.Clone(s)
	delete(bare, "description")
	delete(bare, "type") // whether it may be empty
	data, err := json.Marshal(bare)
	if err != nil {
		panic(err) // it came from JSON
	}
	at, known := r.sections[string(data)]
	if !known {
		at = path
		r.sections[string(data)] = path
		r.waiting = append(r.waiting, section{path, s})
	}
	return fmt.Sprintf("[mapping](#%s)", anchor(at))
}

// anchor is what Markdown renderers make of a path in a heading.
func anchor(path string) string {
	return strings.Map(func(c rune) rune {
		if c == '-' || c == '_' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
			return c
		}
		return -1
	}, strings.ToLower(path))
}

// quantities are the schemas that have names of their own.
var quantities = []struct {
	name   string
	schema Schema
}{
	{"duration", DurationSchema()}, {"probability", ProbabilitySchema()}, {"rate", RateSchema()},
	{"size", SizeSchema()}, {"port", PortSchema()},
}

func quantityName(s map[string]any) (string, bool) {
	bare := maps.Clone(s)
	delete(bare, "description")
	delete(bare, "default")
	for _, q := range quantities {
		whole := normal(q.schema)
		if reflect.DeepEqual(bare, whole) {
			return q.name, true
		}
		// One way to write it alone, as durations without 0.
		ways, _ := whole["anyOf"].([]any)
		if slices.ContainsFunc(ways, func(way any) bool { return s["pattern"] != nil && reflect.DeepEqual(any(bare), way) }) {
			return q.name, true
		}
	}
	return "", false
}

// text says what a text is like.
func text(s map[string]any) string {
	var said []string
	if pattern, ok := s["pattern"].(string); ok && s["examples"] == nil {
		said = append(said, "text like `"+pattern+"`")
	}
	if examples, ok := s["examples"].([]any); ok {
		said = append(said, "text, as "+list(examples))
	}
	if len(said) == 0 {
		return "text"
	}
	return strings.Join(said, ", ")
}

// span says which numbers are taken.
func span(s map[string]any, kind string) string {
	low, hasLow := s["minimum"]
	high, hasHigh := s["maximum"]
	switch {
	case hasLow && hasHigh:
		return fmt.Sprintf("%s to %s", number(low), number(high))
	case hasLow:
		return fmt.Sprintf("%s or more", number(low))
	}
	return kind
}

func number(v any) string { return strings.Trim(code(v), "`") }

// together says which keys need, exclude or replace each other.
func together(s map[string]any) string {
	var said []string
	add := func(text string) {
		if text != "" && !slices.Contains(said, text) {
			said = append(said, text)
		}
	}
	add(choice("Exactly one of", s["oneOf"]))
	add(choice("At least one of", s["anyOf"]))
	if not, ok := s["not"].(map[string]any); ok {
		if keys := texts(not["required"]); len(keys) > 1 {
			add("Not together: " + quoted(keys, ", ") + ".")
		}
	}
	if dependent, ok := s["dependentRequired"].(map[string]any); ok {
		for _, key := range slices.Sorted(maps.Keys(dependent)) {
			add(fmt.Sprintf("`%s` needs %s.", key, quoted(texts(dependent[key]), ", ")))
		}
	}
	low, high := s["minProperties"], s["maxProperties"]
	if low != nil && low == high {
		add(fmt.Sprintf("It has %s of these keys.", number(low)))
	}
	parts, _ := s["allOf"].([]any)
	for _, p := range parts {
		add(together(p.(map[string]any)))
	}
	return strings.Join(said, " ")
}

// choice joins alternatives that are sets of keys.
func choice(what string, v any) string {
	alternatives, _ := v.([]any)
	var all []string
	for _, a := range alternatives {
		a := a.(map[string]any)
		keys := texts(a["required"])
		if len(keys) == 0 {
			return ""
		}
		one := quoted(keys, " and ")
		properties, _ := a["properties"].(map[string]any)
		for _, key := range slices.Sorted(maps.Keys(properties)) {
			if properties[key] == false {
				one += " without `" + key + "`"
			}
		}
		all = append(all, one)
	}
	if len(all) == 0 {
		return ""
	}
	return what + ": " + strings.Join(all, "; ") + "."
}

func quoted(words []string, between string) string {
	var all []string
	for _, w := range words {
		all = append(all, "`"+w+"`")
	}
	return strings.Join(all, between)
}

func list(words []any) string {
	var all []string
	for _, w := range words {
		all = append(all, code(w))
	}
	return strings.Join(all, ", ")
}

// code writes a value as it stands in a file.
func code(v any) string {
	if text, ok := v.(string); ok {
		return "`" + text + "`"
	}
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // it came from JSON
	}
	return "`" + string(data) + "`"
}

func texts(v any) []string {
	list, _ := v.([]any)
	var all []string
	for _, e := range list {
		if text, ok := e.(string); ok {
			all = append(all, text)
		}
	}
	return all
}

// sentences keeps what a description says in its first line: the others list
// presets, which have pages of their own.
func sentences(description string) string {
	first, _, _ := strings.Cut(description, "\n")
	return first
}

// cell escapes what would end a cell of a table.
func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }

// normal is the schema as JSON has it.
func normal(s Schema) map[string]any {
	data, err := json.Marshal(s)
	if err != nil {
		panic(fmt.Sprintf("a schema that is no JSON: %v", err))
	}
	var v map[string]any
	if err := json.Unmarshal(data, &v); err != nil {
		panic(fmt.Sprintf("a schema that is no mapping: %v", err))
	}
	return v
}
