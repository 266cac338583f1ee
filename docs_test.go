package p2pmodel_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"p2pmodel/scenarios"
	"p2pmodel/scenarios/campaign"
	"p2pmodel/sim"
)

// What the documents say is tried: examples are read, compiled and run, and
// commands, flags, files and links that they name exist.

// page is one Markdown file.
type page struct {
	path   string
	blocks []block
	prose  []line // what stands outside of fenced blocks
}

// block is a fenced block of a page.
type block struct {
	line     int // of its first line of text
	language string
	text     string
}

type line struct {
	number int
	text   string
}

// pages reads README.md and all of docs.
func pages(t *testing.T) []page {
	t.Helper()
	files, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	var all []page
	for _, file := range append([]string{"README.md"}, files...) {
		all = append(all, read(t, file))
	}
	return all
}

func read(t *testing.T, file string) page {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p := page{path: file}
	var open *block
	for i, text := range strings.Split(string(data), "\n") {
		fence, isFence := strings.CutPrefix(text, "```")
		switch {
		case isFence && open == nil:
			open = &block{line: i + 2, language: fence}
		case isFence:
			p.blocks = append(p.blocks, *open)
			open = nil
		case open != nil:
			open.text += text + "\n"
		default:
			p.prose = append(p.prose, line{i + 1, text})
		}
	}
	if open != nil {
		t.Fatalf("%s:%d: the block is not closed", file, open.line)
	}
	return p
}

// in gives the blocks of a language, with their places.
func in(t *testing.T, language string) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, p := range pages(t) {
		for _, b := range p.blocks {
			if b.language == language {
				found[fmt.Sprintf("%s:%d", p.path, b.line)] = b.text
			}
		}
	}
	if len(found) == 0 {
		t.Fatalf("the documents have no %s at all: is it spelt otherwise?", language)
	}
	return found
}

func TestScenariosInDocsAreValid(t *testing.T) {
	for at, text := range in(t, "yaml") {
		file, number, _ := strings.Cut(at, ":")
		first, _ := strconv.Atoi(number)
		// Lines count from the page's beginning.
		if strings.HasPrefix(text, "lab:") {
			if _, _, err := sim.ParseLabFile(file, []byte(strings.Repeat("\n", first-1)+text)); err != nil {
				t.Error(err)
			}
			continue
		}
		if strings.HasPrefix(text, "# .git") {
			continue // for a CI system: TestFilesForCIInDocsAreValid
		}
		if strings.HasPrefix(text, "id:") && strings.Contains(text, "\nnetworks:") {
			if _, err := campaign.Parse(file, []byte(strings.Repeat("\n", first-1)+text)); err != nil {
				t.Error(err)
			}
			continue
		}
		if !strings.HasPrefix(text, "id:") {
			t.Errorf("%s: YAML in the documents is whole files: of scenarios and populations, which begin with id:, of labs, which begin with lab:, or of a CI system, which begin with their name", at)
			continue
		}
		if _, err := scenarios.Parse(file, []byte(strings.Repeat("\n", first-1)+text)); err != nil {
			t.Error(err)
		}
	}
	for at, text := range in(t, "json") {
		if !json.Valid([]byte(text)) {
			t.Errorf("%s: this is not JSON", at)
		}
	}
}

// Each Go example is compiled as a package of the module that exists for the
// compiler only.
func TestGoInDocsCompiles(t *testing.T) {
	t.Parallel()
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for at, text := range in(t, "go") {
		file, args := "example.go", []string{"build"}
		if strings.Contains(text, `"testing"`) {
			file, args = "example_test.go", []string{"test", "-c", "-vet=off"}
		}
		source, overlay := filepath.Join(dir, file), filepath.Join(dir, "overlay.json")
		write(t, source, fmt.Sprintf("//line %s\n%s", at, text))
		config, err := json.Marshal(map[string]map[string]string{
			"Replace": {filepath.Join(root, "docs", "example", file): source},
		})
		if err != nil {
			t.Fatal(err)
		}
		write(t, overlay, string(config))
		args = append(args, "-overlay", overlay, "-o", filepath.Join(dir, "example"), "./docs/example")
		if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
			t.Errorf("%s: go %s: %v\n%s", at, strings.Join(args, " "), err, out)
		}
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// binaries has both commands, which are built once for all tests.
func binaries(t *testing.T) (dir string) {
	t.Helper()
	dir, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

var built = sync.OnceValues(func() (string, error) {
	out, err := exec.Command("go", "build", "-o", builtIn+"/", "./cmd/...").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the commands: %w\n%s", err, out)
	}
	return builtIn, nil
})

// builtIn is removed at the end.
var builtIn string

func TestMain(m *testing.M) {
	var err error
	if builtIn, err = os.MkdirTemp("", "p2pmodel-docs-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	status := m.Run()
	_ = os.RemoveAll(builtIn)
	os.Exit(status)
}

var (
	command  = regexp.MustCompile(`^(?:sudo )?(?:bin/)?(natlab|p2pmodel|make)( .*)?$`)
	codeSpan = regexp.MustCompile("`([^`]+)`")
	flagName = regexp.MustCompile(`^--?[a-z][a-z0-9-]*`)
)

// commands gives all command lines of the documents, in blocks and in the text,
// and those of the commands' own help.
func commands(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	add := func(at, text string) {
		text, _, _ = strings.Cut(text, " #")
		text, _, _ = strings.Cut(text, " > ")
		text = ours(text)
		if m := command.FindStringSubmatch(strings.TrimSpace(text)); m != nil {
			found[at] = append(found[at], m[1]+m[2])
		}
	}
	for _, p := range pages(t) {
		for _, b := range p.blocks {
			for i, text := range strings.Split(b.text, "\n") {
				add(fmt.Sprintf("%s:%d", p.path, b.line+i), text)
			}
		}
		for _, l := range p.prose {
			at := fmt.Sprintf("%s:%d", p.path, l.number)
			if strings.HasPrefix(l.text, "    ") {
				add(at, l.text)
			}
			for _, span := range codeSpan.FindAllStringSubmatch(l.text, -1) {
				add(at, span[1])
			}
		}
	}
	return found
}

// ours leaves out of a command line what is for other programs.
func ours(text string) string {
	text, _, _ = strings.Cut(text, " | ")
	text, _, _ = strings.Cut(text, " -- ")
	return text
}

func TestCommandsInDocsExist(t *testing.T) {
	t.Parallel()
	dir := binaries(t)
	makefile, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	help := map[string]string{} // command and subcommand → help
	helpOf := func(name, sub string) (string, error) {
		if text, known := help[name+" "+sub]; known {
			return text, nil
		}
		out, err := exec.Command(filepath.Join(dir, name), sub, "--help").CombinedOutput()
		help[name+" "+sub] = string(out)
		return string(out), err
	}
	check := func(at, text string) {
		words := strings.Fields(text)
		name, sub := words[0], ""
		if len(words) > 1 && !strings.HasPrefix(words[1], "-") {
			sub = words[1]
		}
		if name == "make" {
			if sub != "" && !strings.Contains("\n"+string(makefile), "\n"+sub+":") {
				t.Errorf("%s: the Makefile has no target %s", at, sub)
			}
			return
		}
		if sub == "" {
			sub = "--help"
		}
		text, err := helpOf(name, sub)
		if err != nil {
			t.Errorf("%s: %s %s: %v\n%s", at, name, sub, err, text)
			return
		}
		if root, _ := helpOf(name, "--help"); sub != "--help" && text == root {
			t.Errorf("%s: %s has no command %s", at, name, sub)
			return
		}
		for _, word := range words[1:] {
			if flag := flagName.FindString(word); flag != "" && !strings.Contains(text, flag+" ") && !strings.Contains(text, flag+",") {
				t.Errorf("%s: %s %s has no flag %s", at, name, sub, flag)
			}
		}
	}
	for at, list := range commands(t) {
		for _, text := range list {
			check(at, text)
		}
	}
	// The examples of the help itself, of every subcommand.
	for _, name := range []string{"natlab", "p2pmodel"} {
		text, err := helpOf(name, "--help")
		if err != nil {
			t.Fatalf("%s --help: %v", name, err)
		}
		for _, sub := range regexp.MustCompile(`(?m)^  ([a-z]+)  `).FindAllStringSubmatch(text, -1) {
			text, _ := helpOf(name, sub[1])
			text = strings.ReplaceAll(text, "\\\n", " ")
			_, examples, _ := strings.Cut(text, "Examples:\n")
			examples, _, _ = strings.Cut(examples, "\nFlags:")
			for _, l := range strings.Split(examples, "\n") {
				if m := command.FindStringSubmatch(strings.TrimSpace(l)); m != nil {
					text, _, _ := strings.Cut(m[1]+m[2], " #")
					text, _, _ = strings.Cut(text, " > ")
					text = ours(text)
					check(name+" "+sub[1]+" --help", text)
				}
			}
			for _, file := range ourPath.FindAllString(text, -1) {
				exists(t, name+" "+sub[1]+" --help", file)
			}
		}
	}
}

var (
	link = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	// ourPath is a path below one of the module's folders.
	ourPath = regexp.MustCompile(`\b(?:core|nat|sim|scenarios|cmd|ci|docs)/[A-Za-z0-9_/-]+(?:\.(?:go|md|yaml|yml|sh|svg))?`)
)

func exists(t *testing.T, at, path string) {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		t.Errorf("%s: there is no %s", at, path)
	}
}

func TestLinksAndPathsInDocsResolve(t *testing.T) {
	anchors := map[string][]string{}
	for _, p := range pages(t) {
		for _, l := range p.prose {
			if heading := strings.TrimLeft(l.text, "#"); heading != l.text {
				anchors[p.path] = append(anchors[p.path], slug(heading))
			}
		}
	}
	for _, p := range pages(t) {
		for _, l := range p.prose {
			at := fmt.Sprintf("%s:%d", p.path, l.number)
			for _, m := range link.FindAllStringSubmatch(l.text, -1) {
				target, anchor, _ := strings.Cut(m[1], "#")
				if strings.Contains(target, "://") {
					continue
				}
				file := p.path
				if target != "" {
					file = filepath.Join(filepath.Dir(p.path), target)
					exists(t, at, file)
				}
				if anchor != "" && !slices.Contains(anchors[file], anchor) {
					t.Errorf("%s: %s has no heading #%s; it has %s", at, file, anchor, strings.Join(anchors[file], ", "))
				}
			}
			for _, path := range ourPath.FindAllString(link.ReplaceAllString(l.text, ""), -1) {
				exists(t, at, path)
			}
		}
	}
	// Every document is on the README's map.
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir("docs", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !bytes.Contains(readme, []byte("("+filepath.ToSlash(path)+")")) {
			t.Errorf("README.md has no link to %s", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// slug is the anchor that GitHub gives a heading.
func slug(heading string) string {
	kept := strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r > 127:
			return r
		}
		return -1
	}, strings.ToLower(strings.TrimSpace(heading)))
	return kept
}
