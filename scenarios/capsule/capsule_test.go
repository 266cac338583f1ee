package capsule

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"p2pmodel/scenarios"
	"p2pmodel/sim/witness"
)

// unpacked gives the entries of a capsule, and their names in order.
func unpacked(t *testing.T, data []byte) (map[string]string, []string) {
	t.Helper()
	zr, err := zstd.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	defer zr.Close()
	entries, names := map[string]string{}, []string{}
	for tr := tar.NewReader(zr); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return entries, names
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		if !h.ModTime.Equal(begin) {
			t.Errorf("%s is of %v, want the capsule's time", h.Name, h.ModTime)
		}
		entries[h.Name] = string(text)
		names = append(names, h.Name)
	}
}

func has(t *testing.T, what, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("%s: no %q in\n%s", what, want, text)
		}
	}
}

func TestACapsuleHasEverything(t *testing.T) {
	res := failure(t, parse(t, "dir/least.yaml", least))
	data := packed(t, res)
	if !bytes.Equal(data, packed(t, res)) {
		t.Error("the same result gives other bytes")
	}
	entries, names := unpacked(t, data)
	var want []string
	for _, run := range []string{"runs/own/", "runs/control-full-cone---both-sides/"} {
		for _, name := range []string{
			"diagram.svg", "diagram.mmd", "packets.pcapng", "ladder.html", "drops.json", "log.txt", "evidence.txt",
			"rules/nat-a.txt", "mappings/nat-a.txt", "mappings.json", "programs/server.txt",
		} {
			want = append(want, run+name)
		}
	}
	want = append([]string{"README.md", "capsule.json", "scenario.yaml", "results.json"}, want...)
	if !slices.Equal(names, want) {
		t.Errorf("entries\n%v\nwant\n%v", names, want)
	}
	if entries["scenario.yaml"] != least {
		t.Errorf("the scenario is not as it was read:\n%s", entries["scenario.yaml"])
	}
	has(t, "README.md", entries["README.md"], "# LEAST is unexpected", "natlab run capsule-LEAST.tar.zst", "expected none, observed direct",
		"with seed 7, in real time, without controls", "*Full cone / both sides* is broken: no room", "Wireshark", "read from dir/least.yaml", "Linux 6.18")
	has(t, "log.txt", entries["runs/own/log.txt"], "1.000  a           registered\n")
	has(t, "server.txt", entries["runs/own/programs/server.txt"], "server on host b: serve it", "ended by itself with status 3", "2.000  ! oh\n")
	has(t, "drops.json", entries["runs/own/drops.json"], `"cause": "filtered"`, `"node": "nat-a"`)
	has(t, "diagram.svg", entries["runs/own/diagram.svg"], "<svg", "nat-a")
	has(t, "ladder.html", entries["runs/own/ladder.html"], "<!doctype html>", "<h2>The scenario&#39;s own run</h2>", `class="ladder"`, "198.18.0.2:1024")
	has(t, "mappings", entries["runs/own/mappings/nat-a.txt"], "expires 1s", "0.010  0.020  udp       192.168.1.2:5000  198.18.0.2:1024  198.18.0.3:6000  1    1   not ended")
	has(t, "rules", entries["runs/own/rules/nat-a.txt"], "table nat\n")
	if got := []byte(entries["runs/own/packets.pcapng"]); len(got) < 4 || !bytes.Equal(got[:4], []byte{0x0a, 0x0d, 0x0d, 0x0a}) {
		t.Error("packets.pcapng is no such file")
	}
	var rep scenarios.Report
	if err := json.Unmarshal([]byte(entries["results.json"]), &rep); err != nil || len(rep.Scenarios) != 1 || rep.Scenarios[0].Reason != res.Reason || !rep.RealTime {
		t.Errorf("results.json: %v: %+v", err, rep)
	}

	c, err := Read(bytes.NewReader(data), "x.tar.zst")
	if err != nil {
		t.Fatal(err)
	}
	if c.Seed != 7 || !c.RealTime || !c.SkipControls || c.Scale != 15 || c.Verdict != scenarios.Unexpected || !c.Made.Equal(begin) ||
		c.Versions != origin().Versions || c.Replay != "natlab run capsule-LEAST.tar.zst" || len(c.Runs) != 2 || c.Runs[1].Control != "Full cone / both sides" {
		t.Errorf("%+v", c.Manifest)
	}
	was := parse(t, "dir/least.yaml", least)
	was.File, was.Folder = c.Parsed.File, c.Parsed.Folder
	if c.Parsed.File != "x.tar.zst" || !reflect.DeepEqual(c.Parsed, was) {
		t.Errorf("the scenario is another one: %+v", c.Parsed)
	}
}

// A lab that did not stand leaves a capsule as well.
func TestACapsuleOfNoRun(t *testing.T) {
	res := failure(t, parse(t, "least.yaml", least))
	res.Verdict, res.Run, res.Controls = scenarios.Broken, nil, nil
	entries, names := unpacked(t, packed(t, res))
	if want := []string{"README.md", "capsule.json", "scenario.yaml", "results.json", "runs/own/diagram.svg", "runs/own/diagram.mmd"}; !slices.Equal(names, want) {
		t.Errorf("entries %v, want %v", names, want)
	}
	has(t, "README.md", entries["README.md"], "runs/own: nothing was recorded")
}

// What a scenario is made of comes along, wherever it lay; programs do not, and
// are told.
func TestFilesOfTheScenarioComeAlong(t *testing.T) {
	dir := t.TempDir()
	inside := filepath.Join(dir, "inside")
	write := func(path, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(inside, "traces/near.trace"), "100\n")
	write(filepath.Join(dir, "far.trace"), "200\n")
	write(filepath.Join(inside, "runs/odd.trace"), "50\n")
	source := strings.Replace(least, "rendezvous: rendezvous\n", `programs: {server: {host: rendezvous, run: [no-such-server]}}
`, 1)
	source = strings.Replace(source, "peers: {a: {host: a}, b: {host: b}}\nconnect: [[a, b]]\n", "", 1)
	source = strings.Replace(source, "expect: {path: none}", "expect: {exits: {server: 0}}", 1)
	source, _, _ = strings.Cut(source, "controls:")
	source = strings.Replace(source, "  hosts:", "  links: {a: {trace: traces/near.trace}, b: {trace: ../far.trace}, nat-a: {trace: "+filepath.Join(dir, "far.trace")+"}, nat-b: {trace: runs/odd.trace}}\n  hosts:", 1)
	file := filepath.Join(inside, "least.yaml")
	sc := parse(t, file, source)
	res := failure(t, sc)
	res.Controls = nil
	path, err := Save(filepath.Join(dir, "out"), res, Origin{Made: begin})
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	entries, names := unpacked(t, data)
	for entry, want := range map[string]string{"traces/near.trace": "100\n", "files/1-far.trace": "200\n", "files/2-far.trace": "200\n", "files/3-odd.trace": "50\n"} {
		if entries[entry] != want {
			t.Errorf("%s is %q, want %q; there are %v", entry, entries[entry], want, names)
		}
	}
	has(t, "README.md", entries["README.md"], "there must be no-such-server", "the file that the scenario calls ../far.trace")
	// Where the files were there is nothing any more.
	if err := os.RemoveAll(inside); err != nil {
		t.Fatal(err)
	}
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Parsed.Lab.Links; !reflect.DeepEqual(got, sc.Lab.Links) || len(got) != 4 {
		t.Errorf("links %+v, want %+v", got, sc.Lab.Links)
	}
	if c.Parsed.Folder != filepath.Dir(path) {
		t.Errorf("paths are relative to %s, want the capsule's folder", c.Parsed.Folder)
	}
	if err := os.Mkdir(inside, 0o755); err != nil {
		t.Fatal(err)
	}
	if c, err = Load(path); err != nil || c.Parsed.Folder != inside {
		t.Errorf("paths are relative to %s, want %s, which exists: %v", c.Parsed.Folder, inside, err)
	}
}

func TestNames(t *testing.T) {
	for _, tt := range []struct {
		id      string
		several bool
		want    string
	}{
		{"TC-03", false, "capsule-TC-03.tar.zst"},
		{"TC-03", true, "capsule-TC-03-seed9.tar.zst"},
		{"../etc/passwd", false, "capsule-etc-passwd.tar.zst"},
		{"ä ö", false, "capsule-unnamed.tar.zst"},
		{strings.Repeat("x", 300), false, "capsule-" + strings.Repeat("x", 64) + ".tar.zst"},
	} {
		if got := Name(tt.id, 9, tt.several); got != tt.want {
			t.Errorf("%q: %s, want %s", tt.id, got, tt.want)
		}
	}
}

func TestLeave(t *testing.T) {
	dir := t.TempDir()
	rep := filepath.Join(dir, "report")
	for _, tt := range []struct {
		name, dir, report, want string
	}{
		{"in the report", rep, rep, "capsule-LEAST.tar.zst"},
		{"beside the report", filepath.Join(dir, "capsules"), rep, "../capsules/capsule-LEAST.tar.zst"},
		{"without one", dir, "", filepath.Join(dir, "capsule-LEAST.tar.zst")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			res := failure(t, parse(t, "least.yaml", least))
			if err := Leave(tt.dir, tt.report, res, Origin{Made: begin}); err != nil {
				t.Fatal(err)
			}
			if res.Capsule != tt.want || !Is(Path(tt.report, res)) || Path(tt.report, res) != filepath.Join(tt.dir, "capsule-LEAST.tar.zst") {
				t.Errorf("%s, want %s; it is at %s", res.Capsule, tt.want, Path(tt.report, res))
			}
			left, err := os.ReadDir(tt.dir)
			if err != nil || slices.ContainsFunc(left, func(e os.DirEntry) bool { return strings.HasPrefix(e.Name(), ".") }) {
				t.Errorf("something is left over: %v %v", left, err)
			}
		})
	}
	good := failure(t, parse(t, "least.yaml", least))
	good.Verdict = scenarios.Expected
	if err := Leave(filepath.Join(dir, "none"), "", good, Origin{}); err != nil || good.Capsule != "" {
		t.Errorf("an expected result leaves %s: %v", good.Capsule, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "none")); err == nil {
		t.Error("an expected result makes a folder")
	}
	bad := failure(t, parse(t, "least.yaml", least))
	if err := Leave("/dev/null/x", "", bad, Origin{}); err == nil || bad.Capsule != "" || bad.Verdict != scenarios.Unexpected {
		t.Errorf("what could not be written is %q, %s: %v", bad.Capsule, bad.Verdict, err)
	}
}

// Captures are bounded; what is left out is in the middle, and told.
func TestCapturesAreBounded(t *testing.T) {
	packets := make([]witness.Packet, 100)
	for i := range packets {
		packets[i] = witness.Packet{At: begin.Add(time.Duration(i)), Data: make([]byte, 1000-packetOverhead)}
	}
	for _, tt := range []struct{ most, kept int }{{100_000, 100}, {99_999, 98}, {20_000, 20}, {2_000, 2}, {1_999, 0}, {0, 0}} {
		kept, left := bounded(packets, tt.most)
		if len(kept) != tt.kept || len(kept)+left != len(packets) {
			t.Errorf("of 100 kB, %d bytes keep %d packets and leave out %d, want %d", tt.most, len(kept), left, tt.kept)
		}
		if n := len(kept); n > 1 && (!kept[0].At.Equal(packets[0].At) || !kept[n-1].At.Equal(packets[99].At)) {
			t.Errorf("%d bytes: neither the first nor the last packet may be left out", tt.most)
		}
	}
	res := failure(t, parse(t, "least.yaml", least))
	res.Controls, res.Run.Packets = nil, nil
	big := witness.Packet{Data: make([]byte, 1<<20)}
	for range maxCapture>>20 + 5 {
		res.Run.Packets = append(res.Run.Packets, big)
	}
	m, _, err := pack(res, origin())
	if err != nil {
		t.Fatal(err)
	}
	has(t, "notes", strings.Join(m.Notes, "\n"), "runs/own/packets.pcapng: 7 of 69 packets were left out in the middle: it would have had more than 64 MiB")
}

// What is written can be read: of very many routers, runs of controls are left out.
func TestEntriesAreBounded(t *testing.T) {
	res := failure(t, parse(t, "least.yaml", least))
	for i := range maxEntries / 2 {
		name := fmt.Sprintf("nat-%d", i)
		res.Run.Rules[name], res.Controls[0].Run.Rules[name] = "rules", "rules"
	}
	c, err := Read(bytes.NewReader(packed(t, res)), "x.tar.zst")
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Runs) != 1 || c.Runs[0].Folder != "runs/own" {
		t.Errorf("runs %+v", c.Runs)
	}
	has(t, "notes", strings.Join(c.Notes, "\n"), "runs/control-full-cone---both-sides: left out, since a capsule has 10000 entries at most")
}
