package link

import (
	"encoding/binary"
	"fmt"
	"math"
	"sort"
	"strconv"
	"strings"
	"time"
)

const (
	// OpportunitySize is how many bytes one line of a trace carries. Mahimahi's
	// mm-link has 1504, of which 4 are the header of its TUN device.
	OpportunitySize = 1500
	// MaxTraceSize is the size in bytes of the largest file of a trace.
	MaxTraceSize = 16 << 20
)

// Trace is a recorded capacity in Mahimahi's format (Netravali et al., USENIX ATC
// 2015; mm-link(1)): each line is a time in whole milliseconds at which the link
// can carry OpportunitySize bytes, no line earlier than the one before. Several
// equal lines are several opportunities. The last time is the trace's period:
// at its end it begins anew. The zero value is no trace.
type Trace struct {
	// File is the path by which it was named, for people and for writing labs.
	File string
	// times are 4 bytes a line: a string, so that traces compare with ==.
	times string
}

// TraceError is a line of a trace that is none.
type TraceError struct {
	File    string
	Line    int // from 1
	Message string
}

func (e *TraceError) Error() string { return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Message) }

// ParseTrace reads a trace; file is its name. The error is a *TraceError.
func ParseTrace(file string, text []byte) (Trace, error) {
	wrong := func(line int, format string, args ...any) (Trace, error) {
		return Trace{}, &TraceError{File: file, Line: line, Message: fmt.Sprintf(format, args...)}
	}
	if len(text) > MaxTraceSize {
		return wrong(1, "the trace has %d bytes; the most is %d", len(text), MaxTraceSize)
	}
	var times []byte
	var last uint64
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
		if line == "" {
			return wrong(number, "an empty line; each line is a time in milliseconds")
		}
		ms, err := strconv.ParseUint(line, 10, 64)
		if err != nil || strings.HasPrefix(line, "+") {
			return wrong(number, "%q is no time in whole milliseconds", shorten(line))
		}
		if ms > math.MaxUint32 {
			return wrong(number, "%d ms are more than 49 days", ms)
		}
		if ms < last {
			return wrong(number, "%d ms come after %d ms; times may not go back", ms, last)
		}
		last = ms
		times = binary.LittleEndian.AppendUint32(times, uint32(ms))
	}
	if number == 0 {
		return wrong(1, "the trace is empty; each line is a time in milliseconds at which %d bytes can pass", OpportunitySize)
	}
	if last == 0 {
		return wrong(number, "the trace ends at 0 ms; its last time is how long it lasts before it begins anew")
	}
	return Trace{File: file, times: string(times)}, nil
}

// shorten keeps messages short, whatever stands in a file.
func shorten(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}

// Text writes the trace in Mahimahi's format.
func (t Trace) Text() []byte {
	var b []byte
	for i := range t.Len() {
		b = append(strconv.AppendInt(b, int64(t.At(i)/time.Millisecond), 10), '\n')
	}
	return b
}

// Len is the number of opportunities.
func (t Trace) Len() int { return len(t.times) / 4 }

// At is the time of an opportunity, counted from 0, after the beginning.
func (t Trace) At(i int) time.Duration {
	at := t.times[4*i : 4*i+4]
	return time.Duration(uint32(at[0])|uint32(at[1])<<8|uint32(at[2])<<16|uint32(at[3])<<24) * time.Millisecond
}

// Period is how long the trace lasts.
func (t Trace) Period() time.Duration {
	if t.Len() == 0 {
		return 0
	}
	return t.At(t.Len() - 1)
}

// Rate is the mean capacity in bits a second.
func (t Trace) Rate() uint64 {
	if t.Len() == 0 {
		return 0
	}
	return uint64(t.Len()) * OpportunitySize * 8 * 1000 / uint64(t.Period()/time.Millisecond)
}

// search gives the first opportunity that is not before a time of one period.
func (t Trace) search(at time.Duration) int {
	return sort.Search(t.Len(), func(i int) bool { return t.At(i) >= at })
}

// MarshalBinary and UnmarshalBinary carry traces between processes.
func (t Trace) MarshalBinary() ([]byte, error) {
	return append(append(binary.AppendUvarint(nil, uint64(len(t.File))), t.File...), t.times...), nil
}

// UnmarshalBinary reads what MarshalBinary wrote.
func (t *Trace) UnmarshalBinary(b []byte) error {
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)-size) || (len(b)-size-int(n))%4 != 0 {
		return fmt.Errorf("%d bytes are no trace", len(b))
	}
	b = b[size:]
	*t = Trace{File: string(b[:n]), times: string(b[n:])}
	return nil
}
