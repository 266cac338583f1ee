package ice

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Description is what one side has to know of the other.
type Description struct {
	// Ufrag and Password are the side's credentials (RFC 8445 section 5.3): 4 to
	// 256 and 22 to 256 characters. A new pair is an ICE restart.
	Ufrag, Password string
	// Options are those of ice-options: "ice2" (RFC 8445), "trickle" (RFC 8838).
	Options []string
	// Lite: the side only answers checks (RFC 8445 section 2.5).
	Lite       bool
	Candidates []Candidate
	// Complete: there will be no more candidates (end-of-candidates, RFC 8838
	// section 8).
	Complete bool
}

// The options that we know.
const (
	OptionICE2    = "ice2"
	OptionTrickle = "trickle"
	// OptionRenomination is draft-thatcher-ice-renomination's: later nominations, which
	// have a number, replace earlier ones.
	OptionRenomination = "renomination"
)

const (
	minUfrag, minPassword = 4, 22
	maxCredential         = 256
	// maxOption bounds an option's name, maxOptions how many count.
	maxOption  = 64
	maxOptions = 8
	// MaxCandidates is how many candidates of one side count: pairs are bounded
	// anyway (punch.MaxPairs).
	MaxCandidates = 64
)

// Has reports whether an option is among the description's.
func (d Description) Has(option string) bool { return slices.Contains(d.Options, option) }

// check says what is wrong with the credentials.
func (d Description) check() error {
	for _, c := range []struct {
		what, text string
		least      int
	}{{"ice-ufrag", d.Ufrag, minUfrag}, {"ice-pwd", d.Password, minPassword}} {
		if len(c.text) < c.least || len(c.text) > maxCredential || !iceChars(c.text) {
			return fmt.Errorf("%w: %s has %d characters, want %d to %d letters, digits, + and /", ErrSyntax, c.what, len(c.text), c.least, maxCredential)
		}
	}
	return nil
}

// String is the description as lines of SDP (RFC 8839 section 5, RFC 8840 section
// 8.2), each ending with CR LF.
func (d Description) String() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, "a="+format+"\r\n", args...) }
	if d.Lite {
		line("ice-lite")
	}
	line("ice-ufrag:%s", d.Ufrag)
	line("ice-pwd:%s", d.Password)
	if len(d.Options) > 0 {
		line("ice-options:%s", strings.Join(d.Options, " "))
	}
	for _, c := range d.Candidates {
		line("%s", c)
	}
	if d.Complete {
		line("end-of-candidates")
	}
	return b.String()
}

// ParseDescription reads what concerns ICE of a session description, or of one of
// its media: the first credentials that it has, and everything else in all of it.
// Other lines are left out; so are candidates of no use here. The error is
// ErrSyntax.
func ParseDescription(text string) (Description, error) {
	var d Description
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		name, value, _ := strings.Cut(strings.TrimPrefix(line, "a="), ":")
		if len(line) > maxLine {
			continue
		}
		if err := d.take(name, value); err != nil {
			return Description{}, err
		}
	}
	return d, d.check()
}

func (d *Description) take(name, value string) error {
	switch name {
	case "ice-ufrag":
		if d.Ufrag == "" {
			d.Ufrag = value
		}
	case "ice-pwd":
		if d.Password == "" {
			d.Password = value
		}
	case "ice-lite":
		d.Lite = true
	case "end-of-candidates":
		d.Complete = true
	case "ice-options":
		for option := range strings.FieldsSeq(value) {
			if len(option) <= maxOption && len(d.Options) < maxOptions && iceChars(strings.ReplaceAll(option, "-", "")) && !d.Has(option) {
				d.Options = append(d.Options, option)
			}
		}
	case "candidate":
		c, err := ParseCandidate(value)
		switch {
		case errors.Is(err, ErrUnsupported):
		case err != nil:
			return err
		case len(d.Candidates) < MaxCandidates:
			d.Candidates = append(d.Candidates, c)
		}
	}
	return nil
}
