package differential_test

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

var flagPlanted = flag.Bool("differential.planted", false, "have TestPlanted build a test binary for each planted bug, and run it")

// bug is a change of one source file that makes it wrong.
type bug struct {
	name, file string
	old, new   string
}

var bugs = []bug{
	{"the wrong direction refreshes", "nat/table/table.go",
		"t.behavior.Refresh != nat.RefreshInbound", "t.behavior.Refresh != nat.RefreshOutbound"},
	{"addresses alone are looked at", "nat/table/table.go",
		"\treturn remote\n}", "\treturn netip.AddrPortFrom(remote.Addr(), 0)\n}"},
	{"the filter does not judge what is hairpinned", "nat/table/table.go",
		"v = t.admit(now, v.Packet, true)", "v = t.admit(now, v.Packet, false)"},
	{"a sequence skips one", "nat/table/port.go",
		"*counter = (*counter + 1) % p.count", "*counter = (*counter + 2) % p.count"},
	{"mappings live twice as long", "nat/table/mapping.go",
		"m.expires = now.Add(idle)", "m.expires = now.Add(2 * idle)"},
	{"a filter's entry lives as long as a stream from the start", "nat/table/mapping.go",
		"\tidle := s.oneWay\n\tif m.replied {", "\tidle := s.oneWay\n\tif true {"},
	{"an answer makes a stream at once", "nat/table/conntrack.go",
		"case f.answered && now.Sub(f.began) > streamAfter:", "case f.answered:"},

	{"inbound packets refresh nothing", "nat/ruleset/state.go",
		"b.Refresh != nat.RefreshInbound, b.Refresh != nat.RefreshOutbound", "b.Refresh != nat.RefreshInbound, b.Refresh == nat.RefreshInbound"},
	{"the filter compares addresses only", "nat/ruleset/state.go",
		"2+fields(b.Mapping), fields(b.Filtering)", "2+fields(b.Mapping), min(1, fields(b.Filtering))"},
	{"mappings live twice as long", "nat/ruleset/state.go",
		"s.oneWay = age{idle: oneWay, hold: oneWay}", "s.oneWay = age{idle: 2 * oneWay, hold: 2 * oneWay}"},
	{"a sequence begins one too far", "nat/ruleset/allocate.go",
		"d.number(to, d.first), networkOrder(to)", "d.number(to, d.first+1), networkOrder(to)"},
	{"a checksum is not mended", "nat/ruleset/protocol.go",
		"expr.Any { return store(from, f, p.checksum) }}", "expr.Any { return storePlain(from, f) }}"},
	{"what is filtered counts as without a mapping", "nat/ruleset/translate.go",
		"s.young(), drop(CauseFiltered))", "s.young(), drop(CauseNoMapping))"},
	{"an entry of the filter is not refreshed from inside", "nat/ruleset/translate.go",
		"remote, s.remoteLen), refreshFor(s.filter, inside, 0, a.idle))", "remote, s.remoteLen), put(s.filter, inside, 0))"},
	{"blocks overlap by one port", "nat/ruleset/block.go",
		"sum(term, b.Block, firstPort)", "sum(term, b.Block-1, firstPort)"},
}

const (
	// bugSchedules is within how many schedules each bug has to be found.
	bugSchedules = 6000
	// bugSteps is to how few steps it has to shrink, on average over all, and mostSteps
	// at most.
	bugSteps, mostSteps = 4, 8
)

// foundLine is what TestSchedules prints of what it finds.
var foundLine = regexp.MustCompile(`differential: found after (\d+) schedules, ([\d.]+) s; shrunk to (\d+) steps, (\d+) packets`)

// Bugs that are put into the model or into the rules are found by random schedules, and
// shrink to the few steps that show them. No code is prepared for it: the compiler is
// given another file in place of the source.
func TestPlanted(t *testing.T) {
	if !*flagPlanted {
		t.Skip("LEFT OUT: builds a binary a bug, minutes in all: run `sudo make planted`")
	}
	needRig(t)
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	total, found := 0, 0
	for _, b := range bugs {
		t.Run(path.Base(path.Dir(b.file))+": "+b.name, func(t *testing.T) {
			out := search(t, root, b)
			m := foundLine.FindStringSubmatch(out)
			if m == nil {
				t.Fatalf("not found within %d schedules:\n%s", bugSchedules, out)
			}
			steps, _ := strconv.Atoi(m[3])
			total, found = total+steps, found+1
			t.Logf("found after %s schedules, %s s; shrunk to %d steps, %s packets\n%s", m[1], m[2], steps, m[4], shown(out))
			if steps > mostSteps {
				t.Errorf("it shrank to %d steps, want %d or fewer", steps, mostSteps)
			}
		})
	}
	if found > 0 && total > bugSteps*found {
		t.Errorf("bugs shrank to %.1f steps on average, want %d or fewer", float64(total)/float64(found), bugSteps)
	}
}

// search builds the test binary with the bug in it, and runs schedules.
func search(t *testing.T, root string, b bug) string {
	t.Helper()
	dir := t.TempDir()
	source := filepath.Join(root, filepath.FromSlash(b.file))
	text, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), b.old); n != 1 {
		t.Fatalf("%s has %q %d times, and the bug is to be put in its place: bring this test up to date", b.file, b.old, n)
	}
	wrong := filepath.Join(dir, "wrong.go")
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {source: wrong}})
	if err != nil {
		t.Fatal(err)
	}
	for file, data := range map[string]string{wrong: strings.Replace(string(text), b.old, b.new, 1), filepath.Join(dir, "overlay.json"): string(overlay)} {
		if err := os.WriteFile(file, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	binary := filepath.Join(dir, "planted.test")
	build := exec.Command("go", "test", "-c", "-overlay", filepath.Join(dir, "overlay.json"), "-o", binary, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	run := exec.Command(binary, "-test.run=^TestSchedules$", "-test.v", "-test.timeout=10m",
		fmt.Sprintf("-differential.schedules=%d", bugSchedules), "-differential.stop=1",
		fmt.Sprintf("-differential.seed=%d", time.Now().UnixNano()&(1<<40-1)))
	out, err := run.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out)
}

// shown is the part of a run's output that shows what was found.
func shown(out string) string {
	_, out, _ = strings.Cut(out, "the kernel and the model disagree")
	shown, _, _ := strings.Cut(out, "differential_linux_test.go")
	return shown
}
