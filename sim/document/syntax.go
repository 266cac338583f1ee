package document

import "strings"

// explanations say what to do about errors of syntax, whose texts are the parser's.
var explanations = []struct{ text, instead string }{
	{"found character '\t' that cannot start any token", "a tab cannot indent: use spaces"},
	{"tab character cannot use as a map key", "a tab cannot indent: use spaces"},
	{"found a tab character where an indentation space is expected", "a tab cannot indent: use spaces"},
	{"non-map value is specified", "a key with a colon (name: value) has to stand here, as on the lines around"},
	{"mapping value is not allowed in this context", "no key can stand here: a text that has \": \" in it needs quotes, and the keys of one mapping begin in one column"},
	{"value is not allowed in this context", "this is not indented as what it belongs to: the keys of one mapping begin in one column"},
	{"could not find end character of double-quoted text", "the quote (\") that begins here does not end"},
	{"could not find end character of single-quoted text", "the quote (') that begins here does not end; within it, '' stands for '"},
	{"',' or ']' must be specified", "the list [… before this has no ] or lacks a comma"},
	{"',' or '}' must be specified", "the mapping {… before this has no } or lacks a comma"},
	{"is a reserved character", "a text that begins with @ or ` needs quotes"},
	{"unexpected key name", "there is no name before the colon"},
}

// explained is a message of the parser in words that say what to do.
func explained(message string) string {
	for _, e := range explanations {
		if strings.Contains(message, e.text) {
			return e.instead
		}
	}
	return strings.ReplaceAll(message, "\t", `\t`)
}
