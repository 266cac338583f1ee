package limits

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"connectrpc.com/connect"

	"p2pmodel/core/shard/rpc"
)

// invalid makes the error of a field.
func invalid(field, format string, args ...any) error {
	return rpc.Errorf(connect.CodeInvalidArgument, field+": "+format, args...)
}

// CheckRoomID checks the id of a room.
func CheckRoomID(field, id string) error {
	if len(id) != RoomIDLength {
		return invalid(field, "a room's id has %d characters, this one %d", RoomIDLength, len(id))
	}
	if strings.Trim(id, RoomIDAlphabet) != "" {
		return invalid(field, "a room's id has the letters a to z and the digits 2 to 7 only")
	}
	return nil
}

// CheckSession checks the id of a session, which is a token of subjects.
func CheckSession(field, id string) error { return checkToken(field, id, MaxSession, "-_") }

// CheckMode checks the name of what is played.
func CheckMode(field, mode string) error { return checkToken(field, mode, MaxMode, "-_") }

// CheckPlayer checks the name of a player.
func CheckPlayer(field, name string) error {
	if err := checkText(field, name, MaxPlayer); err != nil {
		return err
	}
	if strings.TrimSpace(name) != name {
		return invalid(field, "begins or ends with a space")
	}
	return nil
}

// checkToken checks a name of ASCII letters, digits and some more characters.
func checkToken(field, s string, most int, more string) error {
	if s == "" {
		return invalid(field, "is empty")
	}
	if len(s) > most {
		return invalid(field, "has %d bytes, at most %d are allowed", len(s), most)
	}
	for _, r := range s {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
		if !letter && !strings.ContainsRune(more, r) {
			return invalid(field, "has the character %q; letters, digits and %s are allowed", r, strings.Join(strings.Split(more, ""), " "))
		}
	}
	return nil
}

// checkText checks a text for people: valid UTF-8 of 1 to most characters, none
// of them a control or format character, which could forge lines or hide text.
func checkText(field, s string, most int) error {
	// A character has at most four bytes: what is far too long is not counted.
	if len(s) > most*utf8.UTFMax {
		return invalid(field, "has %d bytes, at most %d characters are allowed", len(s), most)
	}
	if !utf8.ValidString(s) {
		return invalid(field, "is not valid UTF-8")
	}
	if n := utf8.RuneCountInString(s); n > most {
		return invalid(field, "has %d characters, at most %d are allowed", n, most)
	}
	if strings.TrimSpace(s) == "" {
		return invalid(field, "is empty")
	}
	for _, r := range s {
		if hidden(r) {
			return invalid(field, "has the control character %U", r)
		}
	}
	return nil
}

// hidden reports whether a character shows nothing of its own but changes how
// others look: controls, line and paragraph separators, and the direction marks
// among the format characters. The joiners that scripts and emoji need are not.
func hidden(r rune) bool {
	switch {
	case r == '\u200c' || r == '\u200d':
		return false
	case unicode.Is(unicode.Cf, r):
		// Tags (flags of regions in emoji) are harmless and used.
		return !(0xE0020 <= r && r <= 0xE007F)
	}
	return unicode.IsControl(r) || r == '\u2028' || r == '\u2029'
}

// checkPrintable checks what machines make for machines: ASCII without spaces.
func checkPrintable(field, s string, most int) error {
	if s == "" {
		return invalid(field, "is empty")
	}
	if len(s) > most {
		return invalid(field, "has %d bytes, at most %d are allowed", len(s), most)
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return invalid(field, "has the byte %#02x at %d; printable ASCII is allowed", s[i], i)
		}
	}
	return nil
}
