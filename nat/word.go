package nat

import (
	"fmt"
	"strings"
)

// The words of the axes, by value. Dependence has three spellings: RFC 4787's
// full words, and its initials, which differ for mapping and filtering.
var (
	dependenceNames = [...]string{"endpoint-independent", "address-dependent", "address-and-port-dependent"}
	mappingShort    = [...]string{"EIM", "ADM", "APDM"}
	filteringShort  = [...]string{"EIF", "ADF", "APDF"}
	allocationNames = [...]string{"preserve", "sequential", "random", "block"}
	fallbackNames   = [...]string{"sequential", "random"}
	parityNames     = [...]string{"ignore", "keep"}
	fullNames       = [...]string{"drop", "evict"}
	kindNames       = [...]string{"rfc", "masquerade", "masquerade-random", "masquerade-fully-random"}
	earlyNames      = [...]string{"drop", "accept"}
	scopeNames      = [...]string{"mapping", "endpoint"}
	poolingNames    = [...]string{"paired", "arbitrary"}
	refreshNames    = [...]string{"outbound", "both", "inbound"}
	hairpinNames    = [...]string{"none", "internal", "external"}
	inboundNames    = [...]string{"open", "replies"}
	rejectionNames  = [...]string{"none", "out", "in", "both"}
)

// neverRotates is the value of AxisRotate that stands for zero.
const neverRotates = "never"

// String gives the RFC's full words.
func (d Dependence) String() string { return word(dependenceNames[:], d) }

// MarshalText gives the RFC's full words.
func (d Dependence) MarshalText() ([]byte, error) {
	return marshalWord("mapping or filtering", dependenceNames[:], d)
}

// UnmarshalText takes the full words and the initials of mapping and filtering.
func (d *Dependence) UnmarshalText(text []byte) error {
	return unmarshalWord("mapping or filtering", d, text, dependenceNames[:], mappingShort[:], filteringShort[:])
}

func (a Allocation) String() string { return word(allocationNames[:], a) }

// MarshalText gives String's word; it fails for values that are none.
func (a Allocation) MarshalText() ([]byte, error) {
	return marshalWord(AxisPorts, allocationNames[:], a)
}

// UnmarshalText reads String's word in any case.
func (a *Allocation) UnmarshalText(text []byte) error {
	return unmarshalWord(AxisPorts, a, text, allocationNames[:])
}

func (s Scope) String() string { return word(scopeNames[:], s) }

// MarshalText gives String's word; it fails for values that are none.
func (s Scope) MarshalText() ([]byte, error) { return marshalWord(AxisScope, scopeNames[:], s) }

// UnmarshalText reads String's word in any case.
func (s *Scope) UnmarshalText(text []byte) error {
	return unmarshalWord(AxisScope, s, text, scopeNames[:])
}

func (p Pooling) String() string { return word(poolingNames[:], p) }

// MarshalText gives String's word; it fails for values that are none.
func (p Pooling) MarshalText() ([]byte, error) { return marshalWord(AxisPooling, poolingNames[:], p) }

// UnmarshalText reads String's word in any case.
func (p *Pooling) UnmarshalText(text []byte) error {
	return unmarshalWord(AxisPooling, p, text, poolingNames[:])
}

func (r Refresh) String() string { return word(refreshNames[:], r) }

// MarshalText gives String's word; it fails for values that are none.
func (r Refresh) MarshalText() ([]byte, error) { return marshalWord(AxisRefresh, refreshNames[:], r) }

// UnmarshalText reads String's word in any case.
func (r *Refresh) UnmarshalText(text []byte) error {
	return unmarshalWord(AxisRefresh, r, text, refreshNames[:])
}

func (h Hairpin) String() string { return word(hairpinNames[:], h) }

// MarshalText gives String's word; it fails for values that are none.
func (h Hairpin) MarshalText() ([]byte, error) { return marshalWord(AxisHairpin, hairpinNames[:], h) }

// UnmarshalText reads String's word in any case.
func (h *Hairpin) UnmarshalText(text []byte) error {
	return unmarshalWord(AxisHairpin, h, text, hairpinNames[:])
}

func (f Fallback) String() string { return word(fallbackNames[:], f) }

// MarshalText gives String's word; it fails for values that are none.
func (f Fallback) MarshalText() ([]byte, error) {
	return marshalWord(AxisFallback, fallbackNames[:], f)
}

// UnmarshalText reads String's word in any case.
func (f *Fallback) UnmarshalText(text []byte) error {
	return unmarshalWord(AxisFallback, f, text, fallbackNames[:])
}

func (p Parity) String() string { return word(parityNames[:], p) }

// MarshalText gives String's word; it fails for values that are none.
func (p Parity) MarshalText() ([]byte, error) { return marshalWord(AxisParity, parityNames[:], p) }

// UnmarshalText reads String's word in any case.
func (p *Parity) UnmarshalText(text []byte) error {
	return unmarshalWord(AxisParity, p, text, parityNames[:])
}

func (f Full) String() string { return word(fullNames[:], f) }

// MarshalText gives String's word; it fails for values that are none.
func (f Full) MarshalText() ([]byte, error) { return marshalWord(AxisFull, fullNames[:], f) }

// UnmarshalText reads String's word in any case.
func (f *Full) UnmarshalText(text []byte) error {
	return unmarshalWord(AxisFull, f, text, fullNames[:])
}

func (k Kind) String() string { return word(kindNames[:], k) }

// MarshalText gives String's word; it fails for values that are none.
func (k Kind) MarshalText() ([]byte, error) { return marshalWord(AxisKind, kindNames[:], k) }

// UnmarshalText reads String's word in any case.
func (k *Kind) UnmarshalText(text []byte) error {
	return unmarshalWord(AxisKind, k, text, kindNames[:])
}

func (e EarlyInbound) String() string { return word(earlyNames[:], e) }

// MarshalText gives String's word; it fails for values that are none.
func (e EarlyInbound) MarshalText() ([]byte, error) { return marshalWord(AxisEarly, earlyNames[:], e) }

// UnmarshalText reads String's word in any case.
func (e *EarlyInbound) UnmarshalText(text []byte) error {
	return unmarshalWord(AxisEarly, e, text, earlyNames[:])
}

func (i FirewallInbound) String() string { return word(inboundNames[:], i) }

// MarshalText gives String's word; it fails for values that are none.
func (i FirewallInbound) MarshalText() ([]byte, error) {
	return marshalWord(FirewallKeyInbound, inboundNames[:], i)
}

// UnmarshalText reads String's word in any case.
func (i *FirewallInbound) UnmarshalText(text []byte) error {
	return unmarshalWord(FirewallKeyInbound, i, text, inboundNames[:])
}

func (r Rejection) String() string { return word(rejectionNames[:], r) }

// MarshalText gives String's word; it fails for values that are none.
func (r Rejection) MarshalText() ([]byte, error) {
	return marshalWord(FirewallKeyReject, rejectionNames[:], r)
}

// UnmarshalText reads String's word in any case.
func (r *Rejection) UnmarshalText(text []byte) error {
	return unmarshalWord(FirewallKeyReject, r, text, rejectionNames[:])
}

// String gives LOW-HIGH.
func (r PortRange) String() string { return fmt.Sprintf("%d-%d", r.Low, r.High) }

// MarshalText gives LOW-HIGH.
func (r PortRange) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads LOW-HIGH.
func (r *PortRange) UnmarshalText(text []byte) error {
	parsed, ok := parseRange(string(text))
	if !ok {
		return valueError(AxisRange, string(text))
	}
	*r = parsed
	return nil
}

func (r PortRange) valid() bool { return r.Low >= 1 && r.Low <= r.High }

// Size is the number of ports in the range.
func (r PortRange) Size() int { return int(r.High) - int(r.Low) + 1 }

// Contains reports whether the port is in the range.
func (r PortRange) Contains(port uint16) bool { return r.Low <= port && port <= r.High }

func word[T ~uint8](names []string, v T) string {
	if int(v) < len(names) {
		return names[v]
	}
	return fmt.Sprintf("invalid(%d)", v)
}

// setWord sets v if the text is a word of one of the lists.
func setWord[T ~uint8](v *T, text string, lists ...[]string) bool {
	for _, names := range lists {
		for i, name := range names {
			if strings.EqualFold(name, text) {
				*v = T(i)
				return true
			}
		}
	}
	return false
}

func marshalWord[T ~uint8](axis Axis, names []string, v T) ([]byte, error) {
	if int(v) >= len(names) {
		return nil, fmt.Errorf("%s: value %d is none of %s", axis, v, strings.Join(names, ", "))
	}
	return []byte(names[v]), nil
}

func unmarshalWord[T ~uint8](axis Axis, v *T, text []byte, lists ...[]string) error {
	if setWord(v, strings.TrimSpace(string(text)), lists...) {
		return nil
	}
	return fmt.Errorf("%s: %q is not valid; it takes %s", axis, text, strings.Join(lists[0], ", "))
}
