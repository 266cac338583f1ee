// Package capsule packs everything that is known of one failed run of a scenario
// into one file, a tar archive compressed with Zstandard (RFC 8878), and reads the
// scenario out of such a file to run it again. Programs that a scenario runs are
// not in it.
package capsule

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"

	"p2pmodel/scenarios"
)

// Schema is the version of the format: it changes when an older reader could no
// longer run a capsule.
const Schema = 1

// Entries of every capsule.
const (
	readmeEntry   = "README.md"
	manifestEntry = "capsule.json"
	scenarioEntry = "scenario.yaml"
	resultsEntry  = "results.json"
	runsFolder    = "runs"
	filesFolder   = "files"
)

// Manifest is a capsule's capsule.json.
type Manifest struct {
	Schema int    `json:"schema"` // 1
	ID     string `json:"id"`
	Title  string `json:"title"`
	// How it was run, and is run again: the seed, on which fabric, whether times were those of the
	// file, and if not by what they were divided, and whether controls were left out.
	Seed         uint64 `json:"seed"`
	Fabric       string `json:"fabric"` // older ones say none: kernel
	RealTime     bool   `json:"real_time"`
	Scale        int    `json:"scale"`
	SkipControls bool   `json:"skip_controls"`

	Verdict scenarios.Verdict `json:"verdict"`
	Reason  string            `json:"reason"`
	Replay  string            `json:"replay"` // the command

	Made     time.Time `json:"made"`
	Versions Versions  `json:"versions"`
	Scenario Source    `json:"scenario"`
	Runs     []Run     `json:"runs"`
	// Notes say what is not in the capsule, and why.
	Notes []string `json:"notes"`
}

// Versions are those of what ran.
type Versions struct {
	Natlab string `json:"natlab,omitempty"`
	Go     string `json:"go"`
	Kernel string `json:"kernel"` // as uname -srm gives it
}

// Source is where the scenario came from.
type Source struct {
	File string `json:"file"` // as it was named
	// Folder is what paths in the file were relative to; absolute.
	Folder string `json:"folder"`
	// Referred are the files that are a part of the scenario.
	Referred []Reference `json:"referred"`
}

// Reference is a file that the scenario names.
type Reference struct {
	Name  string `json:"name"`  // as the scenario has it
	Entry string `json:"entry"` // of the capsule
}

// Run is one run whose records are in the capsule: the scenario's own, or that of
// a control that failed.
type Run struct {
	Control string            `json:"control,omitempty"` // "": the scenario's own run
	Folder  string            `json:"folder"`
	Verdict scenarios.Verdict `json:"verdict"`
	Reason  string            `json:"reason"`
}

// Origin is what a result does not know of how it came to be.
type Origin struct {
	// Name is the file name that the capsule will have (see Name).
	Name string
	// Fabric is that on which it ran; "": kernel.
	Fabric                 string
	RealTime, SkipControls bool
	Made                   time.Time
	Versions               Versions
}

// Here gives the versions of this process and its kernel; natlab is the
// program's own, or empty.
func Here(natlab string) Versions {
	return Versions{Natlab: natlab, Go: runtime.Version(), Kernel: system()}
}

func (v Versions) String() string {
	natlab := "natlab"
	if v.Natlab != "" {
		natlab += " " + v.Natlab
	}
	if !strings.Contains(natlab, v.Go) { // which natlab's version ends with
		natlab += " " + v.Go
	}
	return natlab + " on " + v.Kernel
}

// fileExt is what names of capsules end with.
const fileExt = ".tar.zst"

// Name is the file name of a capsule: capsule-ID.tar.zst, and with the seed where
// there are several of one scenario.
func Name(id string, seed uint64, several bool) string {
	name := "capsule-" + plain(id)
	if several {
		name += fmt.Sprintf("-seed%d", seed)
	}
	return name + fileExt
}

// plain makes part of a file name out of a name.
func plain(name string) string {
	name = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-' {
			return r
		}
		return '-'
	}, name)
	const most = 64
	if name = strings.Trim(name[:min(len(name), most)], "-."); name == "" {
		return "unnamed"
	}
	return name
}

// magic begins every Zstandard frame (RFC 8878, section 3.1.1).
var magic = []byte{0x28, 0xb5, 0x2f, 0xfd}

// Is reports whether a file is to be read as a capsule: by how it begins, or else,
// so that one that is damaged is called so, by its name.
func Is(path string) bool {
	if strings.HasSuffix(strings.ToLower(path), fileExt) {
		return true
	}
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() { // what is read of a pipe is gone
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	head := make([]byte, len(magic))
	_, err = io.ReadFull(f, head)
	return err == nil && bytes.Equal(head, magic)
}
