package nat

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Axis names one property of a behaviour, as the text and YAML forms spell it.
type Axis string

// The axes.
const (
	AxisMapping     Axis = "mapping"
	AxisFiltering   Axis = "filtering"
	AxisPorts       Axis = "ports"
	AxisFallback    Axis = "fallback"
	AxisDelta       Axis = "delta"
	AxisBlock       Axis = "block"
	AxisParity      Axis = "parity"
	AxisScope       Axis = "scope"
	AxisRange       Axis = "range"
	AxisPooling     Axis = "pooling"
	AxisTimeout     Axis = "timeout"
	AxisStream      Axis = "stream"
	AxisTimeoutTCP  Axis = "timeout-tcp"
	AxisTimeoutICMP Axis = "timeout-icmp"
	AxisRefresh     Axis = "refresh"
	AxisRotate      Axis = "rotate"
	AxisHairpin     Axis = "hairpin"
	AxisSize        Axis = "size"
	AxisFull        Axis = "full"
	AxisKind        Axis = "kind"
	AxisEarly       Axis = "early-inbound"
)

// Axes gives all axes in canonical order. The first three are always part of
// Behavior.String.
func Axes() []Axis {
	return []Axis{
		AxisMapping, AxisFiltering, AxisPorts, AxisFallback, AxisDelta, AxisBlock, AxisParity,
		AxisScope, AxisRange, AxisPooling, AxisTimeout, AxisStream, AxisTimeoutTCP, AxisTimeoutICMP,
		AxisRefresh, AxisRotate, AxisHairpin, AxisSize, AxisFull, AxisKind, AxisEarly,
	}
}

// SettingOrder gives all axes in the order in which they are to be set: the kind
// first, since it decides others. What contradicts it then is found by Validate.
func SettingOrder() []Axis {
	order := []Axis{AxisKind}
	for _, a := range Axes() {
		if a != AxisKind {
			order = append(order, a)
		}
	}
	return order
}

// ErrUnknownAxis is wrapped by the error of Set for a key that is no axis.
var ErrUnknownAxis = errors.New("unknown axis")

// Values gives the words that the axis takes, or, for axes that are numbers, a
// description of them.
func (a Axis) Values() []string {
	switch a {
	case AxisMapping:
		return slices.Clone(mappingShort[:])
	case AxisFiltering:
		return slices.Clone(filteringShort[:])
	case AxisPorts:
		return slices.Clone(allocationNames[:])
	case AxisScope:
		return slices.Clone(scopeNames[:])
	case AxisRange:
		return []string{"LOW-HIGH with 1 <= LOW <= HIGH <= 65535"}
	case AxisPooling:
		return slices.Clone(poolingNames[:])
	case AxisFallback:
		return slices.Clone(fallbackNames[:])
	case AxisParity:
		return slices.Clone(parityNames[:])
	case AxisFull:
		return slices.Clone(fullNames[:])
	case AxisKind:
		return slices.Clone(kindNames[:])
	case AxisEarly:
		return slices.Clone(earlyNames[:])
	case AxisDelta:
		return []string{fmt.Sprintf("a number from 1 to %d", MaxDelta)}
	case AxisBlock:
		return []string{fmt.Sprintf("a number from %d to %d", MinBlock, MaxBlock)}
	case AxisRotate:
		return append([]string{neverRotates}, AxisTimeout.Values()...)
	case AxisTimeout, AxisStream, AxisTimeoutTCP, AxisTimeoutICMP:
		return []string{fmt.Sprintf("a duration of whole milliseconds from %s to %s, as in 30s",
			formatDuration(MinTimeout), formatDuration(MaxTimeout))}
	case AxisRefresh:
		return slices.Clone(refreshNames[:])
	case AxisHairpin:
		return slices.Clone(hairpinNames[:])
	case AxisSize:
		return []string{fmt.Sprintf("a number from 1 to %d", MaxTableSize)}
	}
	return nil
}

// Set gives one axis the value that the text stands for; both are read without
// regard to case. A kind other than rfc sets the axes that it implies, too. Values that equal the default are stored as the zero value,
// except a timeout: naming one asks for its certification. The error names the
// axis and its valid values; for a key that is no axis it wraps ErrUnknownAxis
// and names the nearest.
func (b *Behavior) Set(axis Axis, value string) error {
	v := strings.ToLower(strings.TrimSpace(value))
	ok := true
	switch Axis(strings.ToLower(string(axis))) {
	case AxisMapping:
		ok = setWord(&b.Mapping, v, mappingShort[:], dependenceNames[:])
	case AxisFiltering:
		ok = setWord(&b.Filtering, v, filteringShort[:], dependenceNames[:])
	case AxisPorts:
		ok = setWord(&b.Ports, v, allocationNames[:])
	case AxisScope:
		ok = setWord(&b.Scope, v, scopeNames[:])
	case AxisPooling:
		ok = setWord(&b.Pooling, v, poolingNames[:])
	case AxisRefresh:
		ok = setWord(&b.Refresh, v, refreshNames[:])
	case AxisHairpin:
		ok = setWord(&b.Hairpin, v, hairpinNames[:])
	case AxisRange:
		var r PortRange
		if r, ok = parseRange(v); ok {
			if r == DefaultPortRange {
				r = PortRange{}
			}
			b.Range = r
		}
	case AxisTimeout:
		ok = setDuration(&b.Timeout, v)
	case AxisStream:
		ok = setDuration(&b.Stream, v)
	case AxisTimeoutTCP:
		ok = setDuration(&b.TimeoutTCP, v)
	case AxisTimeoutICMP:
		ok = setDuration(&b.TimeoutICMP, v)
	case AxisRotate:
		if v == neverRotates {
			b.Rotate = 0
		} else {
			ok = setDuration(&b.Rotate, v)
		}
	case AxisSize:
		ok = setNumber(&b.TableSize, v, 1, MaxTableSize, DefaultTableSize)
	case AxisDelta:
		ok = setNumber(&b.Delta, v, 1, MaxDelta, DefaultDelta)
	case AxisBlock:
		ok = setNumber(&b.Block, v, MinBlock, MaxBlock, DefaultBlock)
	case AxisFallback:
		ok = setWord(&b.Fallback, v, fallbackNames[:])
	case AxisParity:
		ok = setWord(&b.Parity, v, parityNames[:])
	case AxisFull:
		ok = setWord(&b.Full, v, fullNames[:])
	case AxisEarly:
		ok = setWord(&b.Early, v, earlyNames[:])
	case AxisKind:
		if ok = setWord(&b.Kind, v, kindNames[:]); ok {
			b.imply()
		}
	default:
		return unknownAxis(string(axis))
	}
	if !ok {
		return valueError(Axis(strings.ToLower(string(axis))), strings.TrimSpace(value))
	}
	return nil
}

// Get gives the value of one axis as text, defaults resolved. It is empty for
// a key that is no axis.
func (b Behavior) Get(axis Axis) string {
	r := b.Resolved()
	switch axis {
	case AxisMapping:
		return word(mappingShort[:], r.Mapping)
	case AxisFiltering:
		return word(filteringShort[:], r.Filtering)
	case AxisPorts:
		return r.Ports.String()
	case AxisScope:
		return r.Scope.String()
	case AxisRange:
		return r.Range.String()
	case AxisPooling:
		return r.Pooling.String()
	case AxisTimeout:
		return formatDuration(r.Timeout)
	case AxisStream:
		return formatDuration(r.Stream)
	case AxisTimeoutTCP:
		return formatDuration(r.TimeoutTCP)
	case AxisTimeoutICMP:
		return formatDuration(r.TimeoutICMP)
	case AxisRotate:
		if r.Rotate == 0 {
			return neverRotates
		}
		return formatDuration(r.Rotate)
	case AxisFallback:
		return r.Fallback.String()
	case AxisDelta:
		return strconv.Itoa(r.Delta)
	case AxisBlock:
		return strconv.Itoa(r.Block)
	case AxisParity:
		return r.Parity.String()
	case AxisFull:
		return r.Full.String()
	case AxisKind:
		return r.Kind.String()
	case AxisEarly:
		return r.Early.String()
	case AxisRefresh:
		return r.Refresh.String()
	case AxisHairpin:
		return r.Hairpin.String()
	case AxisSize:
		return strconv.Itoa(r.TableSize)
	}
	return ""
}

// isDefault reports whether String may leave the axis out.
func (b Behavior) isDefault(axis Axis) bool {
	switch axis {
	case AxisMapping, AxisFiltering, AxisPorts:
		return false
	case AxisTimeout:
		return b.Timeout == 0
	case AxisStream:
		return b.Stream == 0
	case AxisTimeoutTCP:
		return b.TimeoutTCP == 0
	case AxisTimeoutICMP:
		return b.TimeoutICMP == 0
	}
	return b.Get(axis) == Behavior{}.Get(axis)
}

// setDuration reads a timeout.
func setDuration(to *time.Duration, text string) bool {
	d, err := time.ParseDuration(text)
	if err != nil || !validTimeout(d) {
		return false
	}
	*to = d
	return true
}

// setNumber reads a number; the default is stored as zero.
func setNumber(to *int, text string, low, high, byDefault int) bool {
	n, err := strconv.Atoi(text)
	if err != nil || n < low || n > high {
		return false
	}
	if n == byDefault {
		n = 0
	}
	*to = n
	return true
}

// valueError says what the axis would have taken.
func valueError(axis Axis, value string) error {
	values := axis.Values()
	want := strings.Join(values, ", ")
	switch axis {
	case AxisMapping, AxisFiltering:
		want += " (or " + strings.Join(dependenceNames[:], ", ") + ")"
	}
	return fmt.Errorf("%s: %q is not valid; it takes %s", axis, value, want)
}

func unknownAxis(key string) error {
	names := make([]string, 0, len(Axes()))
	for _, a := range Axes() {
		names = append(names, string(a))
	}
	return fmt.Errorf("%w %q%s", ErrUnknownAxis, key, suggest(key, names, "the axes are "+strings.Join(names, ", ")))
}

// suggest ends a message about an unknown word: `; did you mean "x"?`, with the
// candidate that begins with the word or has the smallest edit distance to it,
// unless half of the word would have to be another; and which words there are.
func suggest(word string, candidates []string, known string) string {
	word = strings.ToLower(word)
	best, least := "", (max(len(word), 2)+1)/2
	for _, c := range candidates {
		d := distance(word, c)
		if len(word) > 2 && strings.HasPrefix(c, word) {
			d = 0
		}
		if d < least {
			best, least = c, d
		}
	}
	if best == "" {
		return "; " + known
	}
	return fmt.Sprintf("; did you mean %q? %s%s", best, strings.ToUpper(known[:1]), known[1:])
}

// distance is Levenshtein's, with one row of memory.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost++
			}
			diagonal = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}

func parseRange(text string) (PortRange, bool) {
	low, high, found := strings.Cut(text, "-")
	if !found {
		return PortRange{}, false
	}
	l, err1 := strconv.ParseUint(strings.TrimSpace(low), 10, 16)
	h, err2 := strconv.ParseUint(strings.TrimSpace(high), 10, 16)
	r := PortRange{Low: uint16(l), High: uint16(h)}
	return r, err1 == nil && err2 == nil && r.valid()
}
