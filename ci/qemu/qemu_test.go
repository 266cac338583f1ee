package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cavaliergopher/cpio"

	"p2pmodel/ci/qemu/job"
)

func TestInitramfs(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	file("testdata/fuzz/a", "x")
	c := contents{
		init: file("init", "the init"), busybox: file("busybox", "the shell"),
		programs: map[string]string{"/bin/natlab": file("natlab", "the program")},
		trees:    map[string]string{"src/p/testdata": filepath.Join(dir, "testdata"), "src/q/testdata": filepath.Join(dir, "missing")},
		modules:  []string{file("b.ko", "b"), file("a.ko", "a")},
		jobs:     []job.Job{{Name: "doctor", Args: []string{natlab, "doctor"}, Limit: time.Minute}},
	}
	var archive bytes.Buffer
	if err := c.write(&archive); err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for r := cpio.NewReader(&archive); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Mode&cpio.TypeDir == cpio.TypeDir {
			found[h.Name] = "folder"
			continue
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		found[h.Name] = string(content)
		if above := filepath.Dir(h.Name); above != "." && found[above] != "folder" {
			t.Errorf("%s comes before its folder", h.Name)
		}
	}
	for name, want := range map[string]string{
		"init": "the init", "bin/busybox": "the shell", "bin/natlab": "the program", "modules/a.ko": "a", "src/p/testdata/fuzz/a": "x", "proc": "folder",
	} {
		if found[name] != want {
			t.Errorf("%s is %q, want %q", name, found[name], want)
		}
	}
	var work job.Work
	if err := json.Unmarshal([]byte(found[job.Plan[1:]]), &work); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(work.Modules, []string{"/modules/b.ko", "/modules/a.ko"}) || len(work.Jobs) != 1 || work.Jobs[0].Limit != time.Minute {
		t.Errorf("the plan is %+v", work)
	}
}

func TestChoose(t *testing.T) {
	all := allJobs()
	names := func(jobs []job.Job) (names []string) {
		for _, j := range jobs {
			names = append(names, j.Name)
		}
		return names
	}
	if got, err := choose(all, nil); err != nil || len(got) != len(all) {
		t.Errorf("nothing said: %v, %v", names(got), err)
	}
	got, err := choose(all, []string{"tc-0[12]", "tc-*", "doctor"})
	if want := []string{"tc-01", "tc-02", "tc-03", "tc-04", "tc-05", "tc-06", "tc-07", "doctor"}; err != nil || !slices.Equal(names(got), want) {
		t.Errorf("%v, want %v: %v", names(got), want, err)
	}
	if _, err := choose(all, []string{"tc-99"}); err == nil || !strings.Contains(err.Error(), "tc-99") {
		t.Errorf("a job that is not there: %v", err)
	}
}

func TestSummary(t *testing.T) {
	jobs := []job.Job{{Name: "a"}, {Name: "b", Limit: time.Minute}, {Name: "c"}, {Name: "d"}}
	for _, c := range []struct {
		results []job.Result
		ok      bool
		has     []string
	}{
		{[]job.Result{{Name: "a"}, {Name: "b"}, {Name: "c"}, {Name: "d"}}, true, []string{"4 of 4 jobs"}},
		{[]job.Result{{Name: "a", Code: 1}, {Name: "b", Late: true, Code: 137}, {Name: "c", Error: "no such file"}}, false,
			[]string{"exit status 1", "killed after 1m0s", "no such file", "not run", "0 of 4 jobs"}},
	} {
		var out strings.Builder
		if ok := summarise(&out, kernel{release: "6.1.0"}, jobs, c.results, time.Second); ok != c.ok {
			t.Errorf("%v: %v", c.results, ok)
		}
		for _, want := range c.has {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%q is not in\n%s", want, out.String())
			}
		}
	}
}
