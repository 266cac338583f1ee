package engine

import (
	"fmt"
	"strings"
)

// CheckSubject says what is wrong with a subject that is called or published to:
// tokens without white space, * or >, joined by dots.
func CheckSubject(subject string) error {
	for token := range strings.SplitSeq(subject, ".") {
		if token == "" || strings.ContainsAny(token, " \t\r\n*>") {
			return fmt.Errorf("subject %q: a token is empty or has white space, * or >", subject)
		}
	}
	return nil
}

// CheckPattern says what is wrong with a subject that is served or subscribed to:
// a token may also be *, and the last one >.
func CheckPattern(pattern string) error {
	tokens := strings.Split(pattern, ".")
	for i, token := range tokens {
		wild := token == "*" || token == ">" && i == len(tokens)-1
		if token == "" || strings.ContainsAny(token, " \t\r\n") || !wild && strings.ContainsAny(token, "*>") {
			return fmt.Errorf("pattern %q: a token is empty, has white space, or has * or > in a wrong place", pattern)
		}
	}
	return nil
}

// CheckKey says what is wrong with the key of a bucket.
func CheckKey(key string) error {
	for token := range strings.SplitSeq(key, ".") {
		if token == "" || strings.Trim(token, keyLetters) != "" {
			return fmt.Errorf("key %q: tokens are letters, digits, -, _ and =, joined by dots", key)
		}
	}
	return nil
}

const keyLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_="

// CheckBucket says what is wrong with the name of a bucket.
func CheckBucket(name string) error {
	if name == "" || strings.Trim(name, strings.TrimSuffix(keyLetters, "=")) != "" {
		return fmt.Errorf("bucket %q: a name is letters, digits, - and _", name)
	}
	return nil
}

// Matches reports whether a subject or key is one of a pattern.
func Matches(pattern, subject string) bool { return Covers(pattern, subject) }

// Covers reports whether all that matches the pattern inner matches outer too. A
// subject without wildcards matches itself only.
func Covers(outer, inner string) bool {
	for {
		o, restOuter, moreOuter := strings.Cut(outer, ".")
		i, restInner, moreInner := strings.Cut(inner, ".")
		switch {
		case o == ">":
			return true
		case i == ">" || o != i && o != "*":
			return false
		case !moreOuter || !moreInner:
			return moreOuter == moreInner
		}
		outer, inner = restOuter, restInner
	}
}

// Normal gives a bucket's configuration with the defaults filled in.
func (c BucketConfig) Normal() BucketConfig {
	if c.MaxValue == 0 {
		c.MaxValue = MaxPayload
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = 1 << 30
	}
	return c
}

// Check says what is wrong with a bucket's configuration.
func (c BucketConfig) Check() error {
	if err := CheckBucket(c.Name); err != nil {
		return err
	}
	if c.TTL < 0 || c.MaxValue < 0 || c.MaxValue > MaxPayload || c.MaxBytes < 0 {
		return fmt.Errorf("bucket %s: TTL, MaxValue and MaxBytes are 0 or more, MaxValue at most %d", c.Name, MaxPayload)
	}
	return nil
}

// Normal gives limits with the defaults filled in.
func (l Limits) Normal() Limits {
	if l.Workers == 0 {
		l.Workers = 16
	}
	if l.Queue == 0 {
		l.Queue = 256
	}
	return l
}
