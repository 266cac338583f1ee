package sim

import (
	"strings"
	"testing"
	"time"

	"p2pmodel/sim/link"
)

// TestPromises: what a measurement, or the lateness of a run, is good for.
func TestPromises(t *testing.T) {
	const ms = time.Millisecond
	lte := link.Impairment{Delay: 30 * ms, Loss: 0.01}
	far := link.Impairment{Delay: 600 * ms}
	measured := func(i link.Impairment, off time.Duration, sent, lost int) error {
		return Measurement{
			Link: LinkID{"a", DefaultUplink}, Direction: Up, Promised: i, Sent: sent, Lost: lost,
			Expected: i.Delay, Achieved: i.Delay + off,
		}.Err()
	}
	ran := func(i link.Impairment, packets uint64, p95 time.Duration) error {
		return LateErr(LinkID{"m", "4g"}, Down, i, link.Lateness{Packets: packets, P95: p95, P99: 2 * p95, Max: 2 * p95})
	}
	for _, test := range []struct {
		name string
		err  error
		want string // empty: kept
	}{
		{"on time", measured(lte, 50*time.Microsecond, 100, 1), ""},
		{"late, but within a tenth", measured(lte, 3*ms, 100, 1), ""},
		{"late", measured(lte, 3100*time.Microsecond, 100, 1), "the link of a does not keep its promise up: it promised 30ms, 1% loss, but packets take 33.1ms instead of 30ms, more than 3ms off"},
		{"early", measured(lte, -4*ms, 100, 1), "packets take 26ms instead of 30ms"},
		{"a tenth of a long delay", measured(far, 59*ms, 100, 0), ""},
		{"lossy by chance", measured(lte, 0, 100, 8), ""},
		{"lossy beyond chance", measured(lte, 0, 100, 10), "10 of 100 probes were lost, where 1.0 ± 8 were to be"},
		{"a perfect link that loses", measured(far, 0, 100, 4), "4 of 100 probes were lost"},
		{"bursts may come together", measured(link.Impairment{Burst: link.Bursts(0.2, 4)}, 0, 100, 60), ""},
		{"nothing arrives", measured(lte, -30*ms, 100, 100), "100 of 100 probes were lost"},
		{"all lost, as promised", measured(link.Impairment{Delay: ms, Loss: 1}, -ms, 100, 100), ""},
		{"a run on time", ran(lte, 5000, ms), ""},
		{"a run that was late", ran(lte, 5000, 11*ms), "the link of m/4g did not keep its promise down: of 5000 packets, one in twenty was more than 11ms late (at most 10ms may be, the worst was 22ms)"},
		{"late by less than a tenth", ran(far, 5000, 40*ms), ""},
		{"too few packets to say", ran(lte, 99, time.Second), ""},
		{"a link that promises nothing", ran(link.Impairment{}, 5000, time.Second), ""},
	} {
		if test.want == "" && test.err != nil || test.want != "" && (test.err == nil || !strings.Contains(test.err.Error(), test.want)) {
			t.Errorf("%s: %v, want %q", test.name, test.err, test.want)
		}
	}
}
