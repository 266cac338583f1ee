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
		{"unknown path", "expect: {path: direct}", "expect: {path: straight}", "straight"},
		{"unknown technique", "techniques: [plain]", "techniques: [birthday]", "birthday"},
		{"no peers at all", "peers:\n  mobile: {host: mobile}\n  peer: {host: peer}\n", "peers:\n  mobile: {host: mobile}\n", "at least two peers"},
		{"servers on one host", "relay: relay\n", "relay: rendezvous\n", "separate hosts"},
		{"bad keepalive", "keepalive: 500ms", "keepalive: sometimes", "sometimes"},
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
		if err == nil && (sc.ID == "" || len(sc.Peers) < 2 || len(sc.Phases) == 0) {
			t.Fatalf("accepted without id, peers or phases: %+v", sc)
		}
	})
}

func sscan(text string, line, col *int) (int, error) {
	return fmt.Sscanf(text, "x.yaml:%d:%d:", line, col)
}
