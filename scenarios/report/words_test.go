package report

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"p2pmodel/scenarios"
	"p2pmodel/sim"
)

func TestActionWords(t *testing.T) {
	link := sim.LinkID{Node: "mobile", Uplink: "wifi"}
	for _, tt := range []struct {
		action scenarios.Action
		want   string
	}{
		{scenarios.EventAction(sim.Event{Kind: sim.EventMove, Host: "mobile", Uplink: "wifi"}), "mobile moves to its uplink wifi"},
		{scenarios.EventAction(sim.Event{Kind: sim.EventReboot, Router: "home"}), "home reboots"},
		{scenarios.EventAction(sim.Event{Kind: sim.EventReboot, Router: "home", NewAddress: true}), "home reboots and takes a new address"},
		{scenarios.EventAction(sim.Event{Kind: sim.EventSwap, Router: "home", Preset: "symmetric"}), "the NAT of home becomes symmetric"},
		{scenarios.EventAction(sim.Event{Kind: sim.EventCut, Link: link}), "the link of mobile/wifi is cut"},
		{scenarios.EventAction(sim.Event{Kind: sim.EventRestore, Link: sim.LinkID{Node: "relay"}}), "the link of relay is restored"},
		{scenarios.EventAction(sim.Event{Kind: sim.EventFlap, Link: link, Times: 3, Down: 200 * time.Millisecond, Up: time.Second}), "the link of mobile/wifi fails 3 times for 200ms, with 1s between"},
		{scenarios.EventAction(sim.Event{Kind: sim.EventRestrict, Host: "i", To: []string{"rendezvous", "relay"}}), "i may send to rendezvous and relay only"},
		{scenarios.EventAction(sim.Event{Kind: sim.EventUnrestrict, Host: "i"}), "i may send anywhere again"},
		{scenarios.EventAction(sim.Event{Kind: sim.EventLogin, Host: "i"}), "i logs in at the portal"},
		{scenarios.EventAction(sim.Event{Kind: sim.EventLogin, Host: "i", Router: "hotel"}), "i logs in at the portal of hotel"},
		{scenarios.EventAction(sim.Event{Kind: sim.EventInject, Host: "i", For: 2 * time.Second}), "i sends what is not its own for 2s"},
		{scenarios.EventAction(sim.Event{Kind: sim.EventFlush, Router: "home"}), "the table of home is flushed"},
		{scenarios.EventAction(sim.Event{Kind: sim.EventRebind, Router: "home", Host: "i"}), "home silently gives i other ports"},
		{scenarios.EventAction(sim.Event{Kind: sim.EventMove, Host: "mobile", Uplink: "wifi", Gap: time.Second}), "mobile moves to its uplink wifi after 1s without any"},
		{scenarios.EventAction(sim.Event{Kind: sim.EventBlackhole, Link: link, Direction: sim.Up, For: 2 * time.Second}), "the link of mobile/wifi swallows what goes up for 2s"},
		{scenarios.EventAction(sim.Event{Kind: sim.EventPartition, Groups: [][]string{{"a", "b"}, {"c"}}}), "the network splits: a, b | c"},
		{scenarios.EventAction(sim.Event{Kind: sim.EventPause, Program: "server", Host: "i", For: time.Second}), "program server on i: all processes stop for 1s"},
		{scenarios.Action{Kind: scenarios.ActRestart, Target: "relay"}, "the relay restarts"},
		{scenarios.Action{Kind: scenarios.ActStop, Target: "relay"}, "the relay stops"},
		{scenarios.Action{Kind: scenarios.ActQuiet, For: 150 * time.Second}, "no payload for 150s"},
		{scenarios.Action{Kind: scenarios.ActWait, For: 20 * time.Second}, "payload flows for 20s"},
		{scenarios.Action{Kind: scenarios.ActSend, Target: "j", Count: 1}, "j alone sends 1 datagram"},
	} {
		if got := actionWords(tt.action); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.action.Kind, got, tt.want)
		}
	}
}

func TestSentence(t *testing.T) {
	for text, want := range map[string]string{
		"":                          "",
		"payload went direct":       "Payload went direct.",
		"nothing was said!":         "Nothing was said!",
		"a ↔ b: expected direct":    "a ↔ b: expected direct.",
		"a control failed":          "A control failed.",
		"c sent nothing":            "c sent nothing.",
		"mobile ↔ peer: none":       "mobile ↔ peer: none.",
		"nat-a is not what it was.": "nat-a is not what it was.",
		"öffnen":                    "öffnen.",
	} {
		if got := sentence(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestCutAndWrap(t *testing.T) {
	for _, tt := range []struct {
		text string
		most int
		want string
	}{{"short", 5, "short"}, {"much longer", 6, "much…"}, {"↔↔↔↔", 3, "↔↔…"}, {"x", 0, ""}} {
		if got := cut(tt.text, tt.most); got != tt.want {
			t.Errorf("cut(%q, %d) = %q, want %q", tt.text, tt.most, got, tt.want)
		}
	}
	got := wrap("one two three  verylongword four", 7)
	if want := []string{"one two", "three", "verylon", "gword", "four"}; !slices.Equal(got, want) {
		t.Errorf("wrap: %q, want %q", got, want)
	}
}

func TestShellWord(t *testing.T) {
	for text, want := range map[string]string{
		"TC-01": "TC-01", "dir/my file.yaml": "'dir/my file.yaml'", "it's": `'it'\''s'`, "": "''", "$(rm)": "'$(rm)'",
	} {
		if got := shellWord(text); got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
}

func TestReplay(t *testing.T) {
	res := good(t)
	own := *res.Scenario
	own.File = "my lab.yaml"
	rep := reportOf(res)
	if got, want := Replay(rep, res), "natlab run TC-01 --seed 7"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	res.Scenario, rep.RealTime = &own, true
	if got, want := Replay(rep, res), "natlab run 'my lab.yaml' --seed 7 --real-time"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// Every scenario of the catalogue can be described, with all that is in it.
func TestDescribe(t *testing.T) {
	all, err := scenarios.Catalogue()
	if err != nil {
		t.Fatal(err)
	}
	for _, sc := range all {
		t.Run(sc.ID, func(t *testing.T) {
			var b bytes.Buffer
			if err := Describe(&b, sc, false); err != nil {
				t.Fatal(err)
			}
			got := b.String()
			flat := strings.Join(strings.Fields(got), " ")
			want := []string{sc.ID + " " + sc.Title, "natlab run " + sc.ID, "internet"}
			for _, p := range sc.Phases {
				want = append(want, p.Name, actionsWords(p.Actions))
			}
			for _, c := range sc.Controls {
				want = append(want, c.Name, "why: "+c.Why)
			}
			for _, r := range sc.Lab.Routers {
				want = append(want, r.Name)
			}
			for _, text := range want {
				if !strings.Contains(flat, strings.Join(strings.Fields(text), " ")) {
					t.Errorf("no %q in\n%s", text, got)
				}
			}
			for _, line := range strings.Split(got, "\n") {
				if utf8.RuneCountInString(line) > pageWidth || strings.HasSuffix(line, " ") {
					t.Errorf("too wide, or spaces at the end: %q", line)
				}
			}
		})
	}
}
