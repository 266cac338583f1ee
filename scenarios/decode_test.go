package scenarios

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCatalogueIsSound(t *testing.T) {
	all, err := Catalogue()
	if err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob("catalog/*.yaml")
	if len(all) != len(files) || len(all) < 8 {
		t.Fatalf("the catalogue has %d scenarios, the directory %d files", len(all), len(files))
	}
	seen := map[string]bool{}
	for _, sc := range all {
		if want := strings.ToLower(sc.ID) + ".yaml"; filepath.Base(sc.File) != want {
			t.Errorf("%s is in %s, want %s", sc.ID, sc.File, want)
		}
		if seen[sc.ID] {
			t.Errorf("%s is there twice", sc.ID)
		}
		seen[sc.ID] = true
		if len(sc.Controls) == 0 && sc.Room == "" {
			t.Errorf("%s has no control: its verdict would prove nothing", sc.ID)
		}
	}
}

// TestMistakes changes a good file in one place and reads what is said of it.
func TestMistakes(t *testing.T) {
	good, err := os.ReadFile("catalog/tc-06.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Parse("x.yaml", good); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, old, new string
		want           string // part of the message, which begins with FILE:LINE:COL
	}{
		{"unknown key", "rendezvous: rendezvous\n", "rendevous: rendezvous\n", `did you mean "rendezvous"`},
		{"dangling host", "{host: mobile}\n", "{host: mobil}\n", `did you mean "mobile"`},
		{"dangling router", "behind: modem}", "behind: moden}", `did you mean "modem"`},
		{"dangling peer", "connect: [[mobile, peer]]", "connect: [[mobile, pear]]", `did you mean "peer"`},
		{"to itself", "connect: [[mobile, peer]]", "connect: [[peer, peer]]", "cannot connect to itself"},
		{"unknown action", "- move: {host: mobile, uplink: wifi}", "- mov: {host: mobile, uplink: wifi}", `did you mean "move"`},
		{"unknown uplink", "- move: {host: mobile, uplink: 4g}", "- move: {host: mobile, uplink: 5g}", `did you mean "4g"`},
		{"unknown link", "link: mobile/wifi", "link: mobile/wify", `did you mean "mobile/wifi"`},
		{"event of a NAT that is none", "- move: {host: mobile, uplink: wifi}", "- flush: modem2", `unknown router "modem2"`},
		{"no such direction", "- move: {host: mobile, uplink: wifi}", "- blackhole: {link: mobile/wifi, direction: left}", `unknown direction "left"`},
		{"no such program", "- move: {host: mobile, uplink: wifi}", "- pause: server", "the scenario has no programs"},
		{"timeline without an event", "phases:\n", "events: [{at: 1s}]\nphases:\n", "an entry of a timeline has one event"},
		{"timeline of another phase", "phases:\n", "events: [{at: 1s, phase: nowhere, cut: mobile/wifi}]\nphases:\n", `unknown phase "nowhere"`},
		{"timeline without every", "phases:\n", "events: [{times: 3, cut: mobile/wifi}]\nphases:\n", "needs every"},
		{"timeline with an unknown key", "phases:\n", "events: [{att: 1s, cut: mobile/wifi}]\nphases:\n", `did you mean "at"`},
		{"unknown path", "expect: {path: direct}", "expect: {path: straight}", "straight"},
		{"unknown technique", "techniques: [plain]", "techniques: [brithday]", "birthday"},
		{"no peers at all", "peers:\n  mobile: {host: mobile}\n  peer: {host: peer}\n", "peers:\n  mobile: {host: mobile}\n", "at least two peers"},
		{"servers on one host", "relay: relay\n", "relay: rendezvous\n", "separate hosts"},
		{"bad keepalive", "keepalive: 500ms", "keepalive: sometimes", "sometimes"},
		{"unknown bound", "phases:\n", "explore: {lest: 10s}\nphases:\n", `did you mean "last"`},
		{"unknown disturbance", "phases:\n", "explore: {kinds: [los]}\nphases:\n", `did you mean "loss"`},
		{"too long to explore", "phases:\n", "explore: {last: 1h}\nphases:\n", "last: 1h0m0s is not between 10ms and 2m0s"},
		{"nothing to explore", "phases:\n", "explore: {kinds: []}\nphases:\n", "nothing is left that could be done"},
		{"bad NAT", "nats: {carrier: port-restricted-cone}", "nats: {carrier: port-restricted-con}", `did you mean "port-restricted-cone"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if !strings.Contains(string(good), tt.old) {
				t.Fatalf("the file has no %q", tt.old)
			}
			text := strings.Replace(string(good), tt.old, tt.new, 1)
			_, err := Parse("x.yaml", []byte(text))
			if err == nil {
				t.Fatal("no error")
			}
			first := strings.SplitN(err.Error(), "\n", 2)[0]
			var line, col int
			if !strings.HasPrefix(first, "x.yaml:") {
				t.Errorf("no position: %s", first)
			} else if n, _ := sscan(first, &line, &col); n != 2 || line < 1 || col < 1 {
				t.Errorf("no position: %s", first)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("said %q, want something about %q", err, tt.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("catalog/*.yaml")
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		sc, err := Parse("x.yaml", data)
		if err == nil && (sc.ID == "" || len(sc.Peers) < 2 && (len(sc.Peers) > 0 || len(sc.Programs) == 0) || len(sc.Phases) == 0) {
			t.Fatalf("accepted without id, peers or phases: %+v", sc)
		}
	})
}

// TestMistakesOfSystems does the same with a file about a system.
func TestMistakesOfSystems(t *testing.T) {
	if _, err := Parse("x.yaml", []byte(everySystem)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, old, new, want string }{
		{"two servers on a host", "rendezvous: udp-2", "rendezvous: udp-1", "has a server of shard s1 already"},
		{"an agent among engines", "directories: [engine]", "directories: [agent-1]", "another zone"},
		{"a shard's host as engine", "engines: [engine]", "engines: [shard-1]", "other hosts"},
		{"a player on a server", "a: {host: a}, b", "a: {host: udp-1}, b", "runs a server"},
		{"the load on a player's host", "host: crowd, rooms", "host: a, rooms", "a host of its own"},
		{"a player in two rooms", "blue: [c, d]", "blue: [c, a]", "plays in room red already"},
		{"a player in no room", "red: [a, b]", "red: [a, c]", "plays in"},
		{"only later shards", "relay: relay-1}", "relay: relay-1, later: true}", "has to run from the start"},
		{"unknown shard", "start: {shard: s2}", "start: {shard: s3}", `did you mean "s`},
		{"unknown room", "shard-of: red", "shard-of: read", `did you mean "red"`},
		{"a host without servers", "kill: {host: agent-1}", "kill: {host: crowd}", "host of a server"},
		{"room instead of rooms", "rooms: {red: [a, b]", "room: lobby\nrooms: {red: [a, b]", "without system:"},
		{"bad ports", "udp/3478-3479", "udp/3479-3478", "are no ports"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if !strings.Contains(everySystem, tt.old) {
				t.Fatalf("the file has no %q", tt.old)
			}
			_, err := Parse("x.yaml", []byte(strings.Replace(everySystem, tt.old, tt.new, 1)))
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "x.yaml:") {
				t.Errorf("said %v, want something about %q with its place", err, tt.want)
			}
		})
	}
}

func sscan(text string, line, col *int) (int, error) {
	return fmt.Sscanf(text, "x.yaml:%d:%d:", line, col)
}
