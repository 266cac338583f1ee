package p2pmodel_test

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// step is one of a workflow's.
type step struct {
	Name  string            `yaml:"name"`
	Uses  string            `yaml:"uses"`
	Run   string            `yaml:"run"`
	Shell string            `yaml:"shell"`
	If    string            `yaml:"if"`
	Env   map[string]string `yaml:"env"`
	With  map[string]string `yaml:"with"`
}

// workflow is what GitHub reads, as far as the documents use it.
type workflow struct {
	Name        string            `yaml:"name"`
	On          any               `yaml:"on"`
	Permissions map[string]string `yaml:"permissions"`
	Jobs        map[string]struct {
		If        string `yaml:"if"`
		Needs     string `yaml:"needs"`
		RunsOn    string `yaml:"runs-on"`
		Container string `yaml:"container"`
		Timeout   int    `yaml:"timeout-minutes"`
		Strategy  struct {
			Matrix map[string][]int `yaml:"matrix"`
		} `yaml:"strategy"`
		Steps []step `yaml:"steps"`
	} `yaml:"jobs"`
}

// action is a composite action.
type action struct {
	Name        string                       `yaml:"name"`
	Description string                       `yaml:"description"`
	Inputs      map[string]map[string]string `yaml:"inputs"`
	Runs        struct {
		Using string `yaml:"using"`
		Steps []step `yaml:"steps"`
	} `yaml:"runs"`
}

// pipeline is what GitLab reads.
type pipeline map[string]struct {
	Image     string   `yaml:"image"`
	Timeout   string   `yaml:"timeout"`
	Script    []string `yaml:"script"`
	Artifacts struct {
		When     string            `yaml:"when"`
		ExpireIn string            `yaml:"expire_in"`
		Paths    []string          `yaml:"paths"`
		Reports  map[string]string `yaml:"reports"`
	} `yaml:"artifacts"`
}

// strict reads YAML whose keys are all known.
func strict(t *testing.T, at, text string, into any) {
	t.Helper()
	if err := yaml.UnmarshalWithOptions([]byte(text), into, yaml.Strict()); err != nil {
		t.Fatalf("%s: %v", at, err)
	}
}

// shell has bash read a script without running it.
func shell(t *testing.T, at, script string) {
	t.Helper()
	cmd := exec.Command("bash", "-n")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", at, err, out)
	}
}

// checkSteps gives all that the steps run.
func checkSteps(t *testing.T, at string, steps []step) (script string) {
	t.Helper()
	for i, s := range steps {
		if (s.Uses == "") == (s.Run == "") {
			t.Errorf("%s: step %d has to have either uses or run", at, i+1)
		}
		if name, version, ok := strings.Cut(s.Uses, "@"); s.Uses != "" && !strings.HasPrefix(s.Uses, "./") && (!ok || !strings.HasPrefix(name, "actions/") || version == "") {
			t.Errorf("%s: step %d uses %q, which names no version of an action of GitHub's own", at, i+1, s.Uses)
		}
		shell(t, at, s.Run)
		script += s.Run + "\n"
	}
	if len(steps) == 0 {
		t.Errorf("%s: no steps", at)
	}
	return script
}

var reportFolder = regexp.MustCompile(`natlab run --report (\S+) `)

// kept says that what a script reports is what is kept afterwards.
func kept(t *testing.T, at, script, path string) {
	t.Helper()
	m := reportFolder.FindStringSubmatch(script)
	if m == nil || m[1] != path {
		t.Errorf("%s: the folder that is kept is %q, and the report goes to %q", at, path, m)
	}
	if !strings.Contains(script, "natlab doctor") {
		t.Errorf("%s: natlab doctor is not asked", at)
	}
}

func TestFilesForCIInDocsAreValid(t *testing.T) {
	found := 0
	for at, text := range in(t, "yaml") {
		name, _, _ := strings.Cut(text, "\n")
		switch {
		case strings.HasPrefix(name, "# .github/workflows/"):
			var w workflow
			strict(t, at, text, &w)
			for _, j := range w.Jobs {
				if j.RunsOn == "" || j.Timeout == 0 || w.On == nil {
					t.Errorf("%s: a job needs runs-on and timeout-minutes, and the workflow on", at)
				}
				script := checkSteps(t, at, j.Steps)
				last := j.Steps[len(j.Steps)-1]
				if !strings.HasPrefix(last.Uses, "actions/upload-artifact@") || last.If != "always()" {
					t.Errorf("%s: the report is not kept whatever comes", at)
				}
				kept(t, at, script, last.With["path"])
			}
		case strings.HasPrefix(name, "# .gitlab-ci.yml"):
			var p pipeline
			strict(t, at, text, &p)
			for _, j := range p {
				script := strings.Join(j.Script, "\n") + "\n"
				shell(t, at, script)
				if len(j.Artifacts.Paths) != 1 || j.Artifacts.When != "always" {
					t.Fatalf("%s: the report is not kept whatever comes", at)
				}
				kept(t, at, script, j.Artifacts.Paths[0])
				if j.Artifacts.Reports["junit"] != j.Artifacts.Paths[0]+"/junit.xml" {
					t.Errorf("%s: %v is not where the report is", at, j.Artifacts.Reports)
				}
			}
		default:
			continue
		}
		found++
	}
	if found != 2 {
		t.Errorf("%d files for CI, want one for GitHub and one for GitLab", found)
	}
}

// The action of our own, the workflow that uses it, and the one for campaigns.
func TestOurActionIsValid(t *testing.T) {
	for _, file := range []string{"ci/github/action.yml", ".github/workflows/ci.yml", "ci/campaign/github.yml"} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(file, "/action.yml") {
			var a action
			strict(t, file, string(data), &a)
			for _, s := range a.Runs.Steps {
				if s.Run != "" && s.Shell == "" {
					t.Errorf("%s: step %q needs a shell", file, s.Name)
				}
			}
			checkSteps(t, file, a.Runs.Steps)
			continue
		}
		var w workflow
		strict(t, file, string(data), &w)
		for _, j := range w.Jobs {
			checkSteps(t, file, j.Steps)
		}
	}
}
