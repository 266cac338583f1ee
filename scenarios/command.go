package scenarios

import (
	"errors"
	"strings"
)

// splitCommand splits a command line into words, as a shell would one without
// anything to expand: quotes of both kinds keep words together, a backslash takes
// the next character as it is, but not within single quotes.
func splitCommand(line string) ([]string, error) {
	var words []string
	var word strings.Builder
	begun, quote, taken := false, rune(0), false
	for _, r := range line {
		switch {
		case taken:
			word.WriteRune(r)
			taken = false
		case r == '\\' && quote != '\'':
			begun, taken = true, true
		case quote != 0:
			if r == quote {
				quote = 0
			} else {
				word.WriteRune(r)
			}
		case r == '\'' || r == '"':
			begun, quote = true, r
		case strings.ContainsRune(" \t\r\n", r):
			if begun {
				words = append(words, word.String())
			}
			word.Reset()
			begun = false
		default:
			begun = true
			word.WriteRune(r)
		}
	}
	switch {
	case quote != 0:
		return nil, errors.New("a quotation is not closed")
	case taken:
		return nil, errors.New("nothing follows the last backslash")
	}
	if begun {
		words = append(words, word.String())
	}
	return words, nil
}
