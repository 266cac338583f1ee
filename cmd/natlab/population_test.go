package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	campaigns "p2pmodel/scenarios/campaign"
)

func TestCampaignsRefuse(t *testing.T) {
	wrong := file(t, "wrong.yaml", "id: wrong\ntitel: wrong\n")
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"campaign"}, []string{"say which population"}},
		{[]string{"campaign", "mixde"}, []string{`did you mean "mixed"?`}},
		{[]string{"campaign", "./none.yaml"}, []string{"there is no file ./none.yaml"}},
		{[]string{"campaign", wrong}, []string{wrong + `:2:1: unknown key "titel"; did you mean "title"?`, `"networks" is missing`}},
		{[]string{"campaign", "mixed", "--trials", "0"}, []string{"--trials must be 1 to"}},
		{[]string{"campaign", "mixed", "--shard", "3/3", "--json"}, []string{"shards count from 0: the last of 3 is 2/3, not 3/3"}},
		{[]string{"campaign", "mixed", "--shard", "x", "--json"}, []string{`want I/N, as 0/8, got "x"`}},
		{[]string{"campaign", "mixed", "--shard", "0/3"}, []string{"say where it is kept, with --out or --json"}},
		{[]string{"campaign", "mixed", "--out", wrong}, []string{"--out: " + wrong + " is not a directory"}},
		{[]string{"campaign", "mixed", "--parallel", "-1"}, []string{"--parallel must be at least 0"}},
		{[]string{"campaign", "mixed", "--list", "--trials", "4"}, []string{"--list plays nothing: it goes without mixed, --trials"}},
		{[]string{"campaign", "--figures", "--json"}, []string{"--figures plays nothing: it goes without --json"}},
		{[]string{"report", "merge"}, []string{"merge: want natlab report merge PART …, got no argument"}},
		{[]string{"report", "mrege"}, []string{`no command "mrege"; did you mean "merge"?`}},
		{[]string{"report", "merge", t.TempDir()}, []string{"holds no part of a campaign"}},
		{[]string{"report", "merge", wrong}, []string{wrong, "no campaign in JSON"}},
		{[]string{"schema", "populaton"}, []string{`did you mean "population"?`}},
	} {
		status, out, stderr := call(t.Context(), c.args...)
		if status != exitUnable || out != "" {
			t.Errorf("%v: status %d, output %q", c.args, status, out)
		}
		contains(t, stderr, c.want...)
	}
}

// A campaign from the command line, in three shards and in one run: the same files.
func TestACampaignInShards(t *testing.T) {
	dir := t.TempDir()
	const trials = "--trials=60"
	whole := filepath.Join(dir, "whole")
	status, out, stderr := call(t.Context(), "campaign", "field-study", trials, "--seed", "3", "--out", whole)
	if status != exitOK {
		t.Fatalf("status %d: %s", status, stderr)
	}
	contains(t, out, "OUTCOME", "dcutr-2025", "report: "+filepath.Join(whole, "index.html"), "60 trials in")
	contains(t, stderr, "100 %  60 of 60 trials")
	for i := range 3 {
		status, out, stderr := call(t.Context(), "campaign", "field-study", trials, "--seed", "3", "--shard", fmt.Sprintf("%d/3", i), "--out", filepath.Join(dir, "parts", fmt.Sprint(i)))
		if status != exitOK {
			t.Fatalf("shard %d: status %d: %s", i, status, stderr)
		}
		contains(t, out, "part: ")
	}
	merged := filepath.Join(dir, "merged")
	if status, _, stderr := call(t.Context(), "report", "merge", filepath.Join(dir, "parts"), "--out", merged); status != exitOK {
		t.Fatalf("merge: status %d: %s", status, stderr)
	}
	for _, name := range []string{"campaign.json", "campaign.csv", "index.html"} {
		sameFile(t, filepath.Join(whole, name), filepath.Join(merged, name))
	}
	status, out, stderr = call(t.Context(), "report", "merge", filepath.Join(dir, "parts", "0"), filepath.Join(dir, "parts", "2"), "--out", filepath.Join(dir, "none"))
	if status != exitUnable || out != "" {
		t.Errorf("a merge without a part: status %d, output %q", status, out)
	}
	contains(t, stderr, "1 part is missing of 3 shards: 1/3")
	if _, err := os.Stat(filepath.Join(dir, "none")); err == nil {
		t.Error("a merge that failed has written something")
	}
}

func sameFile(t *testing.T, a, b string) {
	t.Helper()
	x, err := os.ReadFile(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := os.ReadFile(b)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(x, y) {
		t.Errorf("%s and %s differ", a, b)
	}
}

// Who interrupts a campaign gets what was played, marked as partial.
func TestAnInterruptedCampaign(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("interrupt signal received")) // as signal.NotifyContext does
	status, _, stderr := call(ctx, "campaign", "field-study", "--trials", "1000000", "--out", dir)
	if status != exitUnable {
		t.Errorf("status %d", status)
	}
	contains(t, stderr, "interrupted: 0 of its trials were played, which are in "+dir)
	r, err := campaigns.ReadPart(dir)
	if err != nil || !r.Partial {
		t.Errorf("%v: partial %v", err, r != nil && r.Partial)
	}
}

func TestCampaignLists(t *testing.T) {
	if status, out, _ := call(t.Context(), "campaign", "--list"); status != exitOK {
		t.Errorf("status %d", status)
	} else {
		contains(t, out, "fixed-home", "carrier", "cellular", "field-study", "mixed")
	}
	if status, out, _ := call(t.Context(), "campaign", "--figures"); status != exitOK {
		t.Errorf("status %d", status)
	} else {
		contains(t, out, "ford-2005", "dcutr-2025", "relay-cellular-home", "41.2 %")
	}
	status, out, _ := call(t.Context(), "schema", "population")
	var v map[string]any
	if err := json.Unmarshal([]byte(out), &v); err != nil || status != exitOK || v["title"] != "P2PModel population" {
		t.Errorf("status %d, %v: %v", status, err, v["title"])
	}
}

const manifests = "../../ci/campaign/"

// job is an indexed Job, as far as this test looks.
type job struct {
	Metadata struct{ Name string }
	Spec     struct {
		CompletionMode           string `yaml:"completionMode"`
		Completions, Parallelism int
		Template                 struct {
			Spec struct {
				Containers []struct {
					Args []string
				}
			}
		}
	}
}

// The manifest for Kubernetes is one that it takes, and what its pods run is a
// campaign in shards that are joined to a whole.
func TestKubernetesPlaysACampaign(t *testing.T) {
	text, err := os.ReadFile(manifests + "kubernetes.yaml")
	if err != nil {
		t.Fatal(err)
	}
	schema, err := jsonschema.NewCompiler().Compile("../../ci/deploy/schema/kubernetes.json")
	if err != nil {
		t.Fatal(err)
	}
	var jobs []job
	for _, part := range strings.Split(string(text), "\n---\n") {
		converted, err := yaml.YAMLToJSON([]byte(part))
		if err != nil {
			t.Fatal(err)
		}
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(converted))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(v); err != nil {
			t.Error(err)
		}
		var j job
		if err := yaml.Unmarshal([]byte(part), &j); err != nil {
			t.Fatal(err)
		}
		jobs = append(jobs, j)
	}
	if len(jobs) != 2 {
		t.Fatalf("%d jobs, want one that plays and one that joins", len(jobs))
	}
	play, join := jobs[0].Spec, jobs[1].Spec
	if play.CompletionMode != "Indexed" || play.Completions != play.Parallelism {
		t.Errorf("it plays %s, %d of %d at once", play.CompletionMode, play.Parallelism, play.Completions)
	}
	dir := t.TempDir()
	pod := func(args []string, index int) []string {
		var out []string
		for _, a := range args {
			a = strings.NewReplacer("$(SHARD)", fmt.Sprint(index), "/campaign", dir).Replace(a)
			if strings.HasPrefix(a, "--trials=") {
				a = "--trials=16"
			}
			out = append(out, a)
		}
		return out
	}
	for i := range play.Completions {
		if status, _, stderr := call(t.Context(), pod(play.Template.Spec.Containers[0].Args, i)...); status != exitOK {
			t.Fatalf("pod %d: status %d: %s", i, status, stderr)
		}
	}
	if status, _, stderr := call(t.Context(), pod(join.Template.Spec.Containers[0].Args, 0)...); status != exitOK {
		t.Fatalf("join: status %d: %s", status, stderr)
	}
	if _, err := os.Stat(filepath.Join(dir, "whole", "index.html")); err != nil {
		t.Error(err)
	}
}

// The script for Slurm, with the variables that Slurm gives.
func TestSlurmPlaysACampaign(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("runs a script of bash, which is not installed")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "campaign")
	task := func(env []string, args ...string) (string, error) {
		cmd := exec.Command(bash, append([]string{manifests + "slurm.sh"}, args...)...)
		cmd.Env = append(os.Environ(), commandEnv+"=1", "NATLAB="+self, "TRIALS=20", "OUT="+dir, "POPULATION=field-study")
		cmd.Env = append(cmd.Env, env...)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for _, i := range []string{"0", "1"} {
		env := []string{"SLURM_ARRAY_TASK_COUNT=2", "SLURM_ARRAY_TASK_MIN=0", "SLURM_ARRAY_TASK_MAX=1", "SLURM_CPUS_PER_TASK=1", "SLURM_ARRAY_TASK_ID=" + i}
		if out, err := task(env); err != nil {
			t.Fatalf("task %s: %v\n%s", i, err, out)
		}
	}
	if out, err := task(nil, "join"); err != nil {
		t.Fatalf("join: %v\n%s", err, out)
	}
	if _, err := os.Stat(filepath.Join(dir, "whole", "index.html")); err != nil {
		t.Error(err)
	}
	out, err := task([]string{"SLURM_ARRAY_TASK_COUNT=2", "SLURM_ARRAY_TASK_MIN=1", "SLURM_ARRAY_TASK_MAX=2", "SLURM_ARRAY_TASK_ID=1"})
	if err == nil {
		t.Error("an array that begins with 1 is taken")
	}
	contains(t, out, "shards count from 0")
}

// The matrix for GitHub has as many shards as it says.
func TestGitHubPlaysACampaign(t *testing.T) {
	text, err := os.ReadFile(manifests + "github.yml")
	if err != nil {
		t.Fatal(err)
	}
	var w struct {
		Jobs map[string]struct {
			Strategy struct{ Matrix struct{ Shard []int } }
			Needs    string
			Steps    []struct{ Run string }
		}
	}
	if err := yaml.Unmarshal(text, &w); err != nil {
		t.Fatal(err)
	}
	shards := w.Jobs["play"].Strategy.Matrix.Shard
	for i, s := range shards {
		if i != s {
			t.Errorf("shard %d is called %d", i, s)
		}
	}
	var ran string
	for _, s := range w.Jobs["play"].Steps {
		ran += s.Run
	}
	if m := regexp.MustCompile(`--shard \$\{\{ matrix\.shard }}/(\d+) `).FindStringSubmatch(ran); m == nil || m[1] != fmt.Sprint(len(shards)) {
		t.Errorf("there are %d shards, and it runs %s", len(shards), ran)
	}
	if w.Jobs["join"].Needs != "play" {
		t.Error("it joins what has not been played")
	}
}
