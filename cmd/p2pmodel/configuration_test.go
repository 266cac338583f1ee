package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
)

// sample is a command with a flag of each sort.
type sample struct {
	listen, tokenFile string
	limit             int
	wait              time.Duration
	open              bool
	engines           []string
	ran               bool
}

// runSample runs the command "sample" with a file, an environment and arguments.
func runSample(t *testing.T, file string, environment map[string]string, args ...string) (*sample, string, error) {
	t.Helper()
	s := &sample{}
	cmd := &cobra.Command{Use: "sample", SilenceErrors: true, SilenceUsage: true, RunE: func(*cobra.Command, []string) error {
		s.ran = true
		return nil
	}}
	f := cmd.Flags()
	f.StringVar(&s.listen, "listen", "127.0.0.1:1", "")
	f.StringVar(&s.tokenFile, "token-file", "", "`FILE` with a token")
	f.IntVar(&s.limit, "limit", 5, "")
	f.DurationVar(&s.wait, "wait", time.Second, "")
	f.BoolVar(&s.open, "open", false, "")
	f.StringSliceVar(&s.engines, "engine", nil, "")
	configured(cmd)
	for name, value := range environment {
		t.Setenv(name, value)
	}
	if file != "" {
		name := filepath.Join(t.TempDir(), "sample.yaml")
		if err := os.WriteFile(name, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--config", name)
	}
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetArgs(args)
	err := cmd.Execute()
	return s, out.String(), err
}

func TestTheCommandLineGoesBeforeTheEnvironmentBeforeTheFile(t *testing.T) {
	const file = "listen: 127.0.0.3:3\nlimit: 30\nwait: 3s\nopen: true\nengine: [c, d]\n"
	environment := map[string]string{"P2PMODEL_SAMPLE_LISTEN": "127.0.0.2:2", "P2PMODEL_SAMPLE_LIMIT": "20", "P2PMODEL_OTHER_WAIT": "9s"}
	s, _, err := runSample(t, file, environment, "--listen", "127.0.0.9:9")
	if err != nil {
		t.Fatal(err)
	}
	if s.listen != "127.0.0.9:9" || s.limit != 20 || s.wait != 3*time.Second || !s.open || strings.Join(s.engines, "+") != "c+d" || !s.ran {
		t.Errorf("the configuration is %+v", *s)
	}
}

func TestListsInTheEnvironmentAreSeparatedByCommas(t *testing.T) {
	s, _, err := runSample(t, "", map[string]string{"P2PMODEL_SAMPLE_ENGINE": "a, b"})
	if err != nil || strings.Join(s.engines, "+") != "a+b" {
		t.Errorf("engines %q, error %v", s.engines, err)
	}
}

func TestMistakesOfConfigurationsAreToldWithTheirPlace(t *testing.T) {
	for name, c := range map[string]struct {
		file        string
		environment map[string]string
		says        []string
	}{
		"an unknown key":                {"listn: x\n", nil, []string{"sample.yaml:1:1", `did you mean "listen"`}},
		"all mistakes at once":          {"limit: many\nwait: 3\n", nil, []string{"sample.yaml:1:8", "sample.yaml:2:7"}},
		"a list where one is wanted":    {"listen: [a, b]\n", nil, []string{"sample.yaml:1:9", "not a list"}},
		"a mapping":                     {"listen: {a: b}\n", nil, []string{"sample.yaml:1:9", "mapping"}},
		"nothing":                       {"listen:\n", nil, []string{"sample.yaml:1:"}},
		"a file within the file":        {"config: other.yaml\n", nil, []string{"sample.yaml:1:1"}},
		"no YAML":                       {"listen: [\n", nil, []string{"sample.yaml:1"}},
		"a bad value":                   {"", map[string]string{"P2PMODEL_SAMPLE_LIMIT": "many"}, []string{"P2PMODEL_SAMPLE_LIMIT", "many"}},
		"a misspelt variable":           {"", map[string]string{"P2PMODEL_SAMPLE_LIMITT": "3"}, []string{"P2PMODEL_SAMPLE_LIMITT", "did you mean P2PMODEL_SAMPLE_LIMIT"}},
		"a file that is not there":      {"", map[string]string{"P2PMODEL_SAMPLE_CONFIG": "/nonexistent/sample.yaml"}, []string{"/nonexistent/sample.yaml"}},
		"a key that stands there twice": {"limit: 1\nlimit: 2\n", nil, []string{"sample.yaml:2"}},
	} {
		t.Run(name, func(t *testing.T) {
			s, _, err := runSample(t, c.file, c.environment)
			if err == nil || s.ran {
				t.Fatalf("it ran; error %v", err)
			}
			if _, ok := err.(usageError); !ok {
				t.Errorf("%v is a %T, which does not exit with 2", err, err)
			}
			for _, want := range c.says {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("it says %q, without %q", err, want)
				}
			}
		})
	}
}

func TestVariablesOfOthersAreLeftAlone(t *testing.T) {
	if _, _, err := runSample(t, "", map[string]string{"P2PMODEL_SAMPLE_SERVICE_HOST": "10.0.0.1"}); err != nil {
		t.Error(err)
	}
}

func TestFileNamesAreRelativeToTheConfigurationFile(t *testing.T) {
	s, _, err := runSample(t, "token-file: keys/token\n", nil)
	if err != nil || !filepath.IsAbs(s.tokenFile) || !strings.HasSuffix(s.tokenFile, "/keys/token") {
		t.Errorf("token file %q, error %v", s.tokenFile, err)
	}
	s, _, err = runSample(t, "token-file: $CREDENTIALS_DIRECTORY/token\n", map[string]string{"CREDENTIALS_DIRECTORY": "/run/credentials/sample.service"})
	if err != nil || s.tokenFile != "/run/credentials/sample.service/token" {
		t.Errorf("token file %q, error %v", s.tokenFile, err)
	}
	if s, _, _ = runSample(t, "", nil, "--token-file", "keys/token"); s.tokenFile != "keys/token" {
		t.Errorf("token file %q of the command line", s.tokenFile)
	}
}

func TestThePrintedConfigurationIsOne(t *testing.T) {
	_, printed, err := runSample(t, "limit: 30\nlisten: \"[::1]:443\"\n", map[string]string{"P2PMODEL_SAMPLE_ENGINE": "a,b"}, "--open", "--print-config")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`listen: "[::1]:443" # file`, `engine: ["a", "b"] # environment`, "open: true # command line", "wait: 1s # default"} {
		if !strings.Contains(printed, want+"\n") {
			t.Errorf("no %q in\n%s", want, printed)
		}
	}
	os.Unsetenv("P2PMODEL_SAMPLE_ENGINE")
	s, again, err := runSample(t, printed, nil, "--print-config")
	if err != nil || s.ran {
		t.Fatalf("ran %v, error %v, of\n%s", s.ran, err, printed)
	}
	uncommented := func(text string) string {
		lines := strings.Split(text, "\n")
		for i := range lines {
			lines[i], _, _ = strings.Cut(lines[i], " #")
		}
		return strings.Join(lines, "\n")
	}
	if uncommented(again) != uncommented(printed) {
		t.Errorf("printed\n%s\nand read again\n%s", printed, again)
	}
}
