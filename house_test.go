// Package p2pmodel has no code of its own: its test keeps the house in order,
// that is, the rules of docs/architecture.md that a compiler does not know.
package p2pmodel

import (
	"bufio"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// floor is a top-level folder, and what its packages may import of ours.
type floor struct {
	name string
	may  []string // folders, with all below them; a trailing $ means this package only
}

var floors = []floor{
	{"core", []string{"core"}},
	{"nat", []string{"nat"}},
	{"sim", []string{"sim", "nat", "core/sansio$"}},
	{"scenarios", []string{"scenarios", "sim", "nat", "core"}},
	{"cmd", []string{"cmd", "scenarios", "sim", "nat", "core"}},
	{"ci", []string{"ci", "scenarios", "sim", "nat", "core"}}, // it measures them; nobody imports it
}

// strangers share no code with core: they judge it.
var strangers = []string{"nat/certify", "sim/witness"}

// machines are the packages whose code runs in any time: it has no clock, no
// goroutine and no randomness but what it is given. Of the shard, whose parts are
// servers, only what decides is.
var machines = []string{
	"core/budget", "core/ice", "core/identity", "core/keepalive", "core/peer", "core/punch", "core/relay", "core/rendezvous", "core/sansio", "core/search", "core/secure", "core/stun",
	"core/ticket", "core/traits",
	"core/shard/field", "core/shard/lease", "core/shard/matchmaking", "core/shard/room",
	"nat", "sim/link", "sim/virtual", "sim/witness",
}

// drivers are the files among them that run machines over real sockets, and what
// applications hold of such a machine.
var drivers = []string{
	"core/sansio/loop*.go", "core/sansio/errand.go", "core/sansio/socket*.go", "core/sansio/streams.go", "core/sansio/stream_config.go", "core/sansio/watch*.go", "core/sansio/system*.go",
	"core/sansio/siege/*.go",     // for tests, over real sockets
	"core/relay/kernelpath/*.go", // the kernel's clock, and a watch of its tables
	"core/peer/peer.go", "core/peer/conn*.go", "core/peer/mesh.go", "core/ice/agent.go",
	"nat/certify/classify/run.go",
	"sim/virtual/task.go", // its goroutines take turns
}

// forbidden are the functions that machines do not call, by import path.
var forbidden = map[string]func(name string) bool{
	"time": func(name string) bool {
		return slices.Contains([]string{"Now", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker", "Since", "Until"}, name)
	},
	"math/rand":    func(string) bool { return true },
	"math/rand/v2": func(name string) bool { return !strings.HasPrefix(name, "New") && !isRandType(name) },
}

func isRandType(name string) bool {
	return slices.Contains([]string{"Rand", "Source", "PCG", "ChaCha8", "Zipf"}, name)
}

// source is one Go file of the module.
type source struct {
	path string // from the root, with slashes
	dir  string
	file *ast.File
	set  *token.FileSet
}

func (s source) isTest() bool { return strings.HasSuffix(s.path, "_test.go") }

// imports gives the packages of ours that the file imports, as folders, with
// their places.
func (s source) imports(module string) map[string]token.Position {
	ours := map[string]token.Position{}
	for _, i := range s.file.Imports {
		name, _ := strconv.Unquote(i.Path.Value)
		if rest, ok := strings.CutPrefix(name, module+"/"); ok {
			ours[rest] = s.set.Position(i.Pos())
		}
	}
	return ours
}

func TestImportsRunOneWay(t *testing.T) {
	module, all := sources(t)
	for _, s := range all {
		i := slices.IndexFunc(floors, func(f floor) bool { return within(s.dir, f.name) })
		if i < 0 {
			if s.dir != "." {
				t.Errorf("%s: the folder is none of the house's; give it a floor in house_test.go or move it", s.path)
			}
			continue
		}
		for to, at := range s.imports(module) {
			switch {
			case within(to, "cmd") && !within(s.dir, "cmd"):
				t.Errorf("%v: nobody imports cmd: move what %s needs out of it", at, s.dir)
			case s.isTest():
				// Tests may build what they test out of any floor.
			case within(s.dir, strangers[0], strangers[1]) && within(to, "core"):
				t.Errorf("%v: %s shares no code with core, which it judges", at, s.dir)
			case within(s.dir, "sim/virtual") && within(to, "sim/kernel", "nat/ruleset"):
				t.Errorf("%v: the virtual fabric runs on any system: it does not import %s", at, to)
			case !allowed(to, floors[i].may):
				t.Errorf("%v: %s must not import %s: the folder %s may import only %s", at, s.dir, to, floors[i].name, strings.Join(floors[i].may, ", "))
			}
		}
	}
}

func TestMachinesHaveNoClockNoGoroutineNoDice(t *testing.T) {
	_, all := sources(t)
	for _, s := range all {
		if s.isTest() || !within(s.dir, machines...) || isDriver(s.path) {
			continue
		}
		names := map[string]string{} // the file's name of an import → its path
		for _, i := range s.file.Imports {
			p, _ := strconv.Unquote(i.Path.Value)
			name := path.Base(strings.TrimSuffix(p, "/v2"))
			if i.Name != nil {
				name = i.Name.Name
			}
			names[name] = p
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%v: a machine starts no goroutine; its driver does", s.set.Position(n.Pos()))
			case *ast.SelectorExpr:
				pkg, ok := n.X.(*ast.Ident)
				if !ok {
					return true
				}
				// An identifier that is declared in the file is no package.
				if bad, ok := forbidden[names[pkg.Name]]; ok && pkg.Obj == nil && bad(n.Sel.Name) {
					t.Errorf("%v: a machine does not use %s.%s; time and randomness are parameters", s.set.Position(n.Pos()), pkg.Name, n.Sel.Name)
				}
			}
			return true
		})
	}
}

// TestAttributesHaveNumbersOfTheirOwn: a socket takes STUN messages of all of core's
// protocols, so that no two attributes that it names have one number.
func TestAttributesHaveNumbersOfTheirOwn(t *testing.T) {
	_, all := sources(t)
	named, ours := map[uint64]string{}, 0
	for _, s := range all {
		if s.isTest() || !within(s.dir, "core") {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			kind, ok := spec.Type.(*ast.SelectorExpr)
			if !ok || kind.Sel.Name != "AttrType" {
				return true
			}
			for i, name := range spec.Names {
				literal, ok := spec.Values[i].(*ast.BasicLit)
				if !ok {
					continue // another name of an attribute that has its number elsewhere
				}
				number, err := strconv.ParseUint(literal.Value, 0, 16)
				if err != nil {
					t.Fatalf("%v: the number of %s: %v", s.set.Position(literal.Pos()), name.Name, err)
				}
				if other := named[number]; other != "" {
					t.Errorf("%v: %s has the number %#04x of %s", s.set.Position(name.Pos()), name.Name, number, other)
				}
				named[number] = name.Name
				ours++
			}
			return true
		})
	}
	if ours < 20 {
		t.Errorf("%d attributes found in core: has their declaration another form?", ours)
	}
}

// sources parses the whole module; it also gives the module's path.
func sources(t *testing.T) (string, []source) {
	t.Helper()
	module, err := modulePath("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	var all []source
	err = filepath.WalkDir(".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && p != "." && (name[0] == '.' || name[0] == '_' || name == "testdata" || name == "vendor") {
			return filepath.SkipDir
		}
		if d.IsDir() || filepath.Ext(name) != ".go" {
			return nil
		}
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, p, nil, 0)
		if err != nil {
			return err
		}
		slashed := filepath.ToSlash(p)
		all = append(all, source{slashed, path.Dir(slashed), f, set})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return module, all
}

func modulePath(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if module, ok := strings.CutPrefix(lines.Text(), "module "); ok {
			return strings.TrimSpace(module), nil
		}
	}
	return "", fmt.Errorf("%s names no module", file)
}

// within reports whether the folder is one of those, or below one.
func within(dir string, folders ...string) bool {
	return slices.ContainsFunc(folders, func(f string) bool { return dir == f || strings.HasPrefix(dir, f+"/") })
}

func allowed(to string, may []string) bool {
	return slices.ContainsFunc(may, func(m string) bool {
		exact, only := strings.CutSuffix(m, "$")
		return only && to == exact || !only && within(to, m)
	})
}

func isDriver(file string) bool {
	return slices.ContainsFunc(drivers, func(pattern string) bool {
		ok, err := path.Match(pattern, file)
		return err == nil && ok
	})
}
