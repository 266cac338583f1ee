//go:build linux

package differential_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"p2pmodel/sim/differential"
)

// What is drawn is valid, and reads back as it was.
func TestSchedulesReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := schedules.Draw(t, "schedule")
		if !s.Supported() {
			t.Fatalf("rules cannot do it:\n%s", s)
		}
		back, err := differential.Parse(s.String())
		if err != nil {
			t.Fatalf("%v\n%s", err, s)
		}
		if back.String() != s.String() {
			t.Fatalf("it reads back as\n%s\nfrom\n%s", back, s)
		}
	})
}

// A seed stands for one schedule, always the same.
func TestSeedsAreReplayable(t *testing.T) {
	for seed := range uint64(50) {
		if a, b := draw(seed), draw(seed); a.String() != b.String() {
			t.Fatalf("seed %d gave two:\n%s\n%s", seed, a, b)
		}
	}
}

func TestMistakesAreNamed(t *testing.T) {
	const begin = "nat mapping=EIM,filtering=EIF,ports=preserve\n"
	for _, c := range []struct{ text, want string }{
		{"", "empty: a schedule begins with the NAT"},
		{"out udp a:1 > x:2", "line 1: \"out udp a:1 > x:2\": a schedule begins with the NAT"},
		{"nat mapping=EIX", "line 1: "},
		{begin + "external four", "line 2: \"external four\": external takes a number"},
		{begin + "external 4", "external 4: a NAT has 1 to 3"},
		{begin + "flush\nexternal 2", "line 3: \"external 2\": external takes a number, and stands before the steps"},
		{begin + "jump", "no such step; there are out, in, wait, flush, reboot, rebind, swap"},
		{begin + "out udp a:1", "a packet is as in: out udp a:40001 > x:3478"},
		{begin + "out sctp a:1 > x:2", "\"sctp\" is no protocol: udp, tcp or icmp"},
		{begin + "out udp x:1 > x:2", "it comes from an inside host: a, b or c"},
		{begin + "in udp a:1 > 1:2", "it comes from the outside: x, y or z"},
		{begin + "in udp x:1 > y:2", "it goes to no such place"},
		{begin + "out udp a:1 > @x:2", "mappings are those of inside hosts"},
		{begin + "out udp a:1 > @b:2~99", "~ counts back to 9"},
		{begin + "out udp a:70000 > x:2", "\"a:70000\" is no endpoint"},
		{begin + "wait a while", "it takes a duration, as in: wait 150ms"},
		{begin + "wait 1h", "it waits for whole milliseconds, to 10s"},
		{begin + "reboot 0", "it takes a number of external addresses, or nothing"},
		{begin + "rebind x", "inside hosts are a, b and c"},
		{begin + "flush all", "it takes nothing"},
		{begin + "swap nothing", "nothing"},
	} {
		if _, err := differential.Parse(c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.text, err, c.want)
		}
	}
}

// cases are disagreements that were found, shrunk, and mended.
func cases(tb testing.TB) map[string]differential.Schedule {
	tb.Helper()
	files, err := filepath.Glob("testdata/cases/*.schedule")
	if err != nil || len(files) == 0 {
		tb.Fatalf("no cases: %v", err)
	}
	all := make(map[string]differential.Schedule)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			tb.Fatal(err)
		}
		s, err := differential.Parse(string(text))
		if err != nil {
			tb.Fatalf("%s: %v", file, err)
		}
		all[strings.TrimSuffix(filepath.Base(file), ".schedule")] = s
	}
	return all
}

// A schedule is shrunk to the steps without which it does not fail, and to plain
// names and axes.
func TestShrink(t *testing.T) {
	s, err := differential.Parse(`nat mapping=APDM,filtering=ADF,ports=sequential,delta=2,range=40000-40006,hairpin=external,timeout=200ms
external 3
out udp a:40001 > x:3478
out udp b:40002 > y:3479
wait 260ms
in udp y:3479 > @b:40002~1
rebind c
out tcp c:5000 > y:3478
in udp x:3478 > 2:40003
flush
`)
	if err != nil {
		t.Fatal(err)
	}
	small := differential.Shrink(s, 1000, func(s differential.Schedule) bool {
		sends := slices.ContainsFunc(s.Steps, func(s differential.Step) bool { return s.Do == differential.Out && s.From.Node == 'b' })
		return sends && slices.ContainsFunc(s.Steps, func(s differential.Step) bool { return s.Do == differential.Wait })
	})
	const want = "nat mapping=EIM,filtering=EIF,ports=preserve\nexternal 1\nout udp b:40001 > x:3478\nwait 100ms\n"
	if got := small.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range cases(f) {
		f.Add(s.String())
	}
	for seed := range uint64(20) {
		f.Add(draw(seed).String())
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := differential.Parse(text)
		if err != nil {
			return
		}
		back, err := differential.Parse(s.String())
		if err != nil || back.String() != s.String() {
			t.Fatalf("%q reads as\n%s\nwhich reads back as\n%s\n%v", text, s, back, err)
		}
	})
}
