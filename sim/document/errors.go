package document

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Error is something wrong at one place of a file.
type Error struct {
	File string
	// Line and Column count from 1; columns are characters, not bytes.
	Line, Column int
	Message      string
}

// Error gives FILE:LINE:COL: message, the form that editors and terminals make
// clickable.
func (e Error) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Message)
}

// Errors are all that is wrong in a file, by position. It is never empty when it
// is returned as an error.
type Errors []Error

// Error gives one line for each error.
func (es Errors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives each error, for errors.As.
func (es Errors) Unwrap() []error {
	all := make([]error, len(es))
	for i, e := range es {
		all[i] = e
	}
	return all
}

// sorted gives the errors by position, each once.
func (es Errors) sorted() Errors {
	all := slices.Clone(es)
	slices.SortStableFunc(all, func(a, b Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return slices.Compact(all)
}
