package document

import (
	"math"
	"strconv"
	"strings"
)

// unit is one unit of a quantity. Units are tried in order, so that the longer
// comes before what it ends with.
type unit struct {
	name   string
	factor float64
}

var rateUnits = []unit{{"tbit", 1e12}, {"gbit", 1e9}, {"mbit", 1e6}, {"kbit", 1e3}, {"bit", 1}}

var sizeUnits = []unit{
	{"kib", 1 << 10}, {"mib", 1 << 20}, {"gib", 1 << 30},
	{"kb", 1e3}, {"mb", 1e6}, {"gb", 1e9}, {"b", 1}, {"", 1},
}

// ParseRate reads a rate in bits a second: a decimal number and one of bit, kbit,
// Mbit, Gbit, Tbit (powers of 1000, any case), where "/s" may follow. A number alone
// is none, since bits and bytes are too easily taken for each other.
func ParseRate(s string) (uint64, bool) {
	v, ok := quantity(strings.TrimSuffix(strings.ToLower(s), "/s"), rateUnits, 1<<53)
	return uint64(v), ok
}

// ParseSize reads a number of bytes: a decimal number, alone or with B, kB, MB,
// GB (powers of 1000) or KiB, MiB, GiB (powers of 1024), any case.
func ParseSize(s string) (int, bool) {
	v, ok := quantity(strings.ToLower(s), sizeUnits, math.MaxInt32)
	return int(v), ok
}

// ParseProbability reads 2% or 0.02 as 0.02; the result is from 0 to 1.
func ParseProbability(s string) (float64, bool) {
	digits, percent := strings.CutSuffix(s, "%")
	p, ok := decimal(strings.TrimSpace(digits))
	if percent {
		p /= 100
	}
	if !ok || p > 1 {
		return 0, false
	}
	return p, true
}

// FormatRate writes what ParseRate reads, in the largest unit that needs no more
// digits than the number has.
func FormatRate(bits uint64) string {
	for _, u := range []struct {
		name   string
		factor uint64
	}{{"Tbit", 1e12}, {"Gbit", 1e9}, {"Mbit", 1e6}, {"kbit", 1e3}} {
		if bits >= u.factor && bits%(u.factor/10) == 0 {
			return strconv.FormatFloat(float64(bits)/float64(u.factor), 'f', -1, 64) + u.name
		}
	}
	return strconv.FormatUint(bits, 10) + "bit"
}

// FormatProbability writes a probability as a percentage that ParseProbability
// reads as exactly p, or as the plain number where no percentage does.
func FormatProbability(p float64) string {
	for _, digits := range []int{0, 1, 2, 3, 6, -1} {
		percent := strconv.FormatFloat(p*100, 'f', digits, 64) + "%"
		if back, ok := ParseProbability(percent); ok && back == p {
			return percent
		}
	}
	return strconv.FormatFloat(p, 'f', -1, 64)
}

func quantity(s string, units []unit, limit float64) (float64, bool) {
	for _, u := range units {
		digits, ok := strings.CutSuffix(s, u.name)
		if !ok {
			continue
		}
		v, ok := decimal(strings.TrimSpace(digits))
		v = math.Round(v * u.factor)
		if !ok || v > limit {
			return 0, false
		}
		return v, true
	}
	return 0, false
}

// decimal reads a number of digits with at most one point: no sign, no exponent,
// no hexadecimal, no infinity.
func decimal(s string) (float64, bool) {
	if s == "" || strings.Trim(s, "0123456789.") != "" {
		return 0, false
	}
	v, err := strconv.ParseFloat(s, 64)
	return v, err == nil
}
