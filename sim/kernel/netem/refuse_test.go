//go:build linux

package netem_test

import (
	"strings"
	"testing"
	"time"

	"p2pmodel/sim/kernel/netem"
	"p2pmodel/sim/link"
)

func TestRefuse(t *testing.T) {
	trace, err := link.ParseTrace("t.trace", []byte("1\n2\n"))
	if err != nil {
		t.Fatal(err)
	}
	const ms = time.Millisecond
	for _, c := range []struct {
		name    string
		does    link.Impairment
		because string // "": netem does it
	}{
		{"nothing", link.Impairment{}, ""},
		{"delay", link.Impairment{Delay: 20 * ms}, ""},
		{"jitter that reorders", link.Impairment{Delay: 20 * ms, Jitter: 5 * ms, Reorder: true, Distribution: link.Normal}, ""},
		{"jitter in order", link.Impairment{Delay: 20 * ms, Jitter: 5 * ms}, "its own delay"},
		{"correlated jitter", link.Impairment{Delay: 20 * ms, Jitter: 5 * ms, Reorder: true, Correlation: .5}, "left over"},
		{"loss", link.Impairment{Loss: .1}, ""},
		{"bursts", link.Impairment{Burst: link.Bursts(.1, 5)}, ""},
		{"copies", link.Impairment{Duplicate: .1, Delay: ms}, ""},
		{"copies and loss", link.Impairment{Duplicate: .1, Loss: .1}, "luck of their own"},
		{"bits", link.Impairment{Corrupt: .1}, ""},
		{"overtaking", link.Impairment{Delay: 20 * ms, Overtake: link.Overtake{Share: .1, Gap: 5}}, ""},
		{"correlated overtaking", link.Impairment{Delay: 20 * ms, Overtake: link.Overtake{Share: .1, Correlation: .5}}, "changes the share"},
		{"rate", link.Impairment{Rate: 1e6, Delay: 20 * ms, Loss: .01}, ""},
		{"rate and jitter", link.Impairment{Rate: 1e6, Delay: 20 * ms, Jitter: ms, Reorder: true}, "smooth the jitter"},
		{"rate and overtaking", link.Impairment{Rate: 1e6, Delay: 20 * ms, Overtake: link.Overtake{Share: .1}}, "overtakes any more"},
		{"wander", link.Impairment{Wander: link.Wander{Delay: ms, Every: time.Second}}, "stays what it is"},
		{"trace", link.Impairment{Trace: trace}, "does not change"},
		{"mtu", link.Impairment{MTU: 1280}, ""},
		{"silent mtu", link.Impairment{MTU: 1280, Blackhole: true}, "a packet's size"},
	} {
		if err := c.does.Validate(); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		err := netem.Refuse(c.does)
		if (err == nil) != (c.because == "") || err != nil && !strings.Contains(err.Error(), c.because) {
			t.Errorf("%s: refused because %v, want %q", c.name, err, c.because)
		}
	}
}
