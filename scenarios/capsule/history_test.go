package capsule

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"p2pmodel/scenarios"
	"p2pmodel/sim/witness"
)

// life is a mapping in a line.
func life(m Mapping) string {
	var remotes []string
	for _, r := range m.Remotes {
		remotes = append(remotes, fmt.Sprintf("%s %d/%d", r.Address, r.Out, r.In))
	}
	text := fmt.Sprintf("%s %s %s → %s %g–%g %d/%d (%s) %s", m.Router, m.Protocol, m.Inside, m.External, m.FirstMS, m.LastMS, m.Out, m.In,
		strings.Join(remotes, ", "), m.Ended)
	if m.EndedMS > 0 {
		text += fmt.Sprintf(" @%g", m.EndedMS)
	}
	return text
}

func TestHistory(t *testing.T) {
	const (
		inside = "192.168.1.2:5000"
		first  = "198.18.0.2:1024"
		second = "198.18.0.2:1025"
		b      = "198.18.0.3:6000"
		c      = "198.18.0.4:3478"
	)
	died := func(ms int, cause witness.Cause, from, to string) witness.Drop {
		d := witness.Drop{At: begin.Add(time.Duration(ms) * time.Millisecond), Node: "nat-a", Cause: cause}
		d.SetData(udp(netip.MustParseAddrPort(from), netip.MustParseAddrPort(to), "late"))
		return d
	}
	for _, tt := range []struct {
		name   string
		tell   func(*recording)
		drops  []witness.Drop
		events []scenarios.EventMark
		atEnd  string
		want   []string
	}{
		{name: "a mapping that serves two remotes", atEnd: "udp " + inside + " → " + first + " (to any)",
			tell: func(r *recording) {
				r.out(1, inside, first, b, "payload 1")
				r.out(2, inside, first, c, "payload 2")
				r.in(3, inside, first, b, "payload 3")
			},
			want: []string{"nat-a udp " + inside + " → " + first + " 1–3 2/1 (" + b + " 1/1, " + c + " 1/0) " + standing}},
		{name: "a longer port in the table is another one", atEnd: "udp " + inside + " → " + first + "9 (to any)",
			tell: func(r *recording) { r.out(1, inside, first, b, "payload 1") },
			want: []string{"nat-a udp " + inside + " → " + first + " 1–1 1/0 (" + b + " 1/0) " + unseen}},
		{name: "another mapping takes its place",
			tell: func(r *recording) {
				r.out(1, inside, first, b, "payload 1")
				r.out(50, inside, second, b, "payload 2")
			}, want: []string{
				"nat-a udp " + inside + " → " + first + " 1–1 1/0 (" + b + " 1/0) another took its place: " + second + " @50",
				"nat-a udp " + inside + " → " + second + " 50–50 1/0 (" + b + " 1/0) " + unseen}},
		{name: "two at once, by their remotes",
			tell: func(r *recording) {
				r.out(1, inside, first, b, "payload 1")
				r.out(2, inside, second, c, "payload 2")
			}, want: []string{
				"nat-a udp " + inside + " → " + first + " 1–1 1/0 (" + b + " 1/0) " + unseen,
				"nat-a udp " + inside + " → " + second + " 2–2 1/0 (" + c + " 1/0) " + unseen}},
		{name: "found gone, and made anew with the same port",
			tell: func(r *recording) {
				r.out(1, inside, first, b, "payload 1")
				r.out(90, inside, first, b, "payload 2")
			},
			drops: []witness.Drop{died(40, witness.CauseExpired, b, first), died(41, witness.CauseExpired, b, second), died(60, "filtered", b, first)},
			want: []string{
				"nat-a udp " + inside + " → " + first + " 1–1 1/0 (" + b + " 1/0) expired mapping: found gone by a packet from " + b + " @40",
				"nat-a udp " + inside + " → " + first + " 90–90 1/0 (" + b + " 1/0) " + unseen}},
		{name: "an event empties the table; that of another router does not",
			tell: func(r *recording) { r.out(1, inside, first, b, "payload 1") },
			events: []scenarios.EventMark{
				{At: begin.Add(10 * time.Millisecond), Text: "flush router=nat-b"},
				{At: begin.Add(15 * time.Millisecond), Text: "the rendezvous restarts"},
				{At: begin.Add(20 * time.Millisecond), Text: "reboot router=nat-a new-address=true"}},
			want: []string{"nat-a udp " + inside + " → " + first + " 1–1 1/0 (" + b + " 1/0) event: reboot router=nat-a new-address=true @20"}},
		{name: "an event about a host ends its mappings",
			tell: func(r *recording) { r.out(1, inside, first, b, "payload 1") },
			events: []scenarios.EventMark{
				{At: begin.Add(10 * time.Millisecond), Text: "rebind router=nat-a host=b"},
				{At: begin.Add(20 * time.Millisecond), Text: "rebind router=nat-a host=a"}},
			want: []string{"nat-a udp " + inside + " → " + first + " 1–1 1/0 (" + b + " 1/0) event: rebind router=nat-a host=a @20"}},
		{name: "nothing was translated", tell: func(r *recording) { r.see(1, "a", "uplink", witness.Out, inside, b, "payload 1") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &recording{t: t}
			tt.tell(r)
			lab := parse(t, "least.yaml", strings.Replace(least, "b: {behind: nat-b}", "b: {behind: nat-a}", 1)).Lab
			plan, err := lab.Plan()
			if err != nil {
				t.Fatal(err)
			}
			run := &scenarios.Run{
				Lab: lab, Plan: plan, Started: begin, Packets: r.packets, Drops: tt.drops, Events: tt.events,
				Mappings: map[string]string{"nat-a": tt.atEnd},
			}
			all := history(run)
			var got []string
			for _, m := range all {
				got = append(got, life(m))
			}
			if g, w := strings.Join(got, "\n"), strings.Join(tt.want, "\n"); g != w {
				t.Errorf("got\n%s\nwant\n%s", g, w)
			}
			if text := mappingsText("none\n", all, "nat-a"); strings.Contains(text, "nothing was translated") != (len(tt.want) == 0) {
				t.Errorf("for people:\n%s", text)
			}
		})
	}
}
