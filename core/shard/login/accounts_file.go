package login

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"p2pmodel/core/shard/limits"
)

// MaxFile is the most bytes of a file of accounts.
const MaxFile = 1 << 20

// entry is an account as it stands in the file.
type entry struct {
	name string
	line int
	account
}

// parseAccounts reads a file. Its errors have lines and never repeat values,
// which may be passwords that somebody forgot to hash.
func parseAccounts(file string, data []byte) (*accountFile, error) {
	entries, err := readAccounts(data)
	if err != nil {
		var at lineError
		if errors.As(err, &at) {
			return nil, fmt.Errorf("%s:%d: %s", file, at.line, at.text)
		}
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(entries) == 0 {
		return nil, fmt.Errorf("%s: no accounts in it; an account is a name with password and rating", file)
	}
	f := &accountFile{byName: make(map[string]account, len(entries))}
	first := entries[0]
	for _, e := range entries {
		if _, twice := f.byName[e.name]; twice {
			return nil, fmt.Errorf("%s:%d: %q is there already, above", file, e.line, e.name)
		}
		if e.password.cost != first.password.cost {
			return nil, fmt.Errorf("%s:%d: the password's cost is %s, that of line %d is %s; hash all alike, or the time that a login takes tells which names there are",
				file, e.line, e.password.cost, first.line, first.password.cost)
		}
		f.byName[e.name] = e.account
	}
	f.nobody = hash{cost: first.password.cost, salt: make([]byte, len(first.password.salt)), sum: make([]byte, len(first.password.sum))}
	rand.Read(f.nobody.salt)
	rand.Read(f.nobody.sum)
	return f, nil
}

// lineError is about a line of the file.
type lineError struct {
	line int
	text string
}

func (e lineError) Error() string { return "line " + strconv.Itoa(e.line) + ": " + e.text }

func at(n ast.Node, format string, args ...any) error {
	line := 1
	if t := n.GetToken(); t != nil && t.Position != nil {
		line = max(t.Position.Line, 1)
	}
	return lineError{line, fmt.Sprintf(format, args...)}
}

// readAccounts walks the YAML.
func readAccounts(data []byte) (entries []entry, err error) {
	if len(data) > MaxFile {
		return nil, fmt.Errorf("the file has %d bytes, at most %d", len(data), MaxFile)
	}
	// The parser is a library's; should a file break it, the file is bad.
	defer func() {
		if broken := recover(); broken != nil {
			entries, err = nil, errors.New("this is not YAML that the parser understands")
		}
	}()
	tree, err := parser.ParseBytes(data, 0)
	if err != nil {
		var detailed yaml.Error
		if errors.As(err, &detailed) && detailed.GetToken() != nil && detailed.GetToken().Position != nil {
			return nil, lineError{max(detailed.GetToken().Position.Line, 1), "this is not YAML that can be read here: names with password and rating below them"}
		}
		return nil, errors.New("this is not YAML that can be read here")
	}
	for _, doc := range tree.Docs {
		if doc.Body == nil {
			continue
		}
		pairs, err := pairsOf(doc.Body, "names of accounts")
		if err != nil {
			return nil, err
		}
		for _, p := range pairs {
			e, err := readAccount(p)
			if err != nil {
				return nil, err
			}
			entries = append(entries, e)
		}
	}
	return entries, nil
}

func readAccount(p *ast.MappingValueNode) (entry, error) {
	e := entry{line: lineOfNode(p.Key)}
	var err error
	if e.name, err = scalar(p.Key); err != nil {
		return entry{}, err
	}
	if err := limits.CheckPlayer("the name", e.name); err != nil {
		return entry{}, at(p.Key, "a name has 1 to %d characters, none of them a control character, and no space at its ends", limits.MaxPlayer)
	}
	fields, err := pairsOf(p.Value, "password and rating")
	if err != nil {
		return entry{}, err
	}
	seen := map[string]bool{}
	for _, f := range fields {
		key, err := scalar(f.Key)
		if err != nil {
			return entry{}, err
		}
		if seen[key] {
			return entry{}, at(f.Key, "the account has this key already")
		}
		seen[key] = true
		if err := e.set(key, f); err != nil {
			return entry{}, err
		}
	}
	if !seen["password"] {
		return entry{}, at(p.Key, "the account has no password")
	}
	return e, nil
}

// set takes one key of an account.
func (e *entry) set(key string, f *ast.MappingValueNode) error {
	value, err := scalar(f.Value)
	if err != nil {
		return err
	}
	switch key {
	case "password":
		if e.password, err = parseHash(value); err != nil {
			return at(f.Key, "%v", err)
		}
	case "rating":
		rating, err := strconv.ParseInt(value, 10, 32)
		if err != nil || rating < 0 || rating > MaxRating {
			return at(f.Key, "a rating is a number from 0 to %d", MaxRating)
		}
		e.rating = int32(rating)
	default:
		return at(f.Key, "an account has the keys password and rating, no other")
	}
	return nil
}

// pairsOf gives a mapping's keys with values.
func pairsOf(n ast.Node, of string) ([]*ast.MappingValueNode, error) {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values, nil
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, nil
	case nil:
		return nil, errors.New("a value is missing")
	}
	return nil, at(n, "here have to be %s", of)
}

// scalar gives a plain or quoted value.
func scalar(n ast.Node) (string, error) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, nil
	case *ast.IntegerNode:
		return strings.TrimSpace(n.Token.Value), nil
	case nil:
		return "", errors.New("a value is missing")
	}
	return "", at(n, "here has to be a plain or quoted text or a number")
}

func lineOfNode(n ast.Node) int {
	var l lineError
	errors.As(at(n, ""), &l)
	return l.line
}
