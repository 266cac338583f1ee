package capsule

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"p2pmodel/sim/document"
	"p2pmodel/sim/link"
)

// manifest is the least that a capsule says of itself.
const manifest = `{"schema": 1, "id": "LEAST", "seed": 3, "scenario": {"referred": []}}`

// archive makes a tar archive of these headers, each with its text.
func archive(t testing.TB, files ...any) []byte {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		h, text := files[i], files[i+1].(string)
		if name, ok := h.(string); ok {
			h = &tar.Header{Typeflag: tar.TypeReg, Name: name}
		}
		header := h.(*tar.Header)
		header.Size, header.Mode = int64(len(text)), 0o644
		if err := tw.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(tw, text); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func compressed(t testing.TB, data []byte) []byte {
	t.Helper()
	zw, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer zw.Close()
	return zw.EncodeAll(data, nil)
}

func TestRefused(t *testing.T) {
	whole := archive(t, "capsule.json", manifest, "scenario.yaml", least)
	zipped := compressed(t, whole)
	big := strings.Repeat(" ", document.MaxSize+1)
	many := []any{"capsule.json", manifest, "scenario.yaml", least}
	for i := range maxEntries {
		many = append(many, fmt.Sprintf("runs/%d", i), "")
	}
	with := func(files ...any) []byte {
		return compressed(t, archive(t, append([]any{"capsule.json", manifest, "scenario.yaml", least}, files...)...))
	}
	referring := strings.Replace(least, "  hosts:", "  links: {a: {trace: x.trace}}\n  hosts:", 1)
	for _, tt := range []struct {
		name string
		data []byte
		want string
	}{
		{"nothing", nil, "not a capsule"},
		{"text", []byte(least), "not a capsule"},
		{"an archive that is not compressed", whole, "not a capsule"},
		{"no archive", compressed(t, []byte(strings.Repeat("text ", 1000))), "not a capsule"},
		{"an empty archive", compressed(t, archive(t)), "not a capsule"},
		{"somebody else's archive", compressed(t, archive(t, "main.go", "package main")), "not a capsule: it has no capsule.json"},
		{"cut off", zipped[:len(zipped)/2], "the capsule is cut off"},
		{"cut off by a byte", zipped[:len(zipped)-1], "the capsule is cut off"},
		{"an archive cut off", compressed(t, whole[:1600]), "the capsule is cut off"},
		{"damaged", append(bytes.Clone(zipped[:len(zipped)-4]), 1, 2, 3, 4), "the capsule is damaged: CRC check failed"},
		{"no scenario", compressed(t, archive(t, "capsule.json", manifest)), "the capsule has no scenario.yaml"},
		{"no JSON", compressed(t, archive(t, "capsule.json", "{", "scenario.yaml", least)), "capsule.json: unexpected end of JSON input"},
		{"a seed that is none", compressed(t, archive(t, "capsule.json", strings.Replace(manifest, "3", `"x"`, 1), "scenario.yaml", least)), "capsule.json: json: cannot unmarshal string"},
		{"a schema to come", compressed(t, archive(t, "capsule.json", `{"schema": 2, "seed": "many", "versions": {"natlab": "v9", "kernel": "Linux 9"}}`, "scenario.yaml", least)),
			"the capsule has schema 2 and this natlab reads 1: run it with the natlab that made it (natlab v9 on Linux 9)"},
		{"no schema", compressed(t, archive(t, "capsule.json", "{}", "scenario.yaml", least)), "the capsule has schema 0"},
		{"another scenario", compressed(t, archive(t, "capsule.json", strings.Replace(manifest, "LEAST", "MOST", 1), "scenario.yaml", least)), `capsule.json is about "MOST", and the scenario in it is "LEAST"`},
		{"a scenario that is wrong", compressed(t, archive(t, "capsule.json", manifest, "scenario.yaml", "id: LEAST\nitle: x\n")), "x.tar.zst/scenario.yaml:2:1: unknown key"},
		{"a file that did not come along", compressed(t, archive(t, "capsule.json", manifest, "scenario.yaml", referring)), "trace: x.trace did not come with this file"},
		{"an entry that did not come along", compressed(t, archive(t, "capsule.json", strings.Replace(manifest, "[]", `[{"name": "x.trace", "entry": "files/1"}]`, 1), "scenario.yaml", referring)),
			"the capsule has no files/1, which its scenario calls x.trace"},
		{"an entry above", with("../evil", "x"), `the capsule has "../evil", which would lie outside of it`},
		{"an entry on the way above", with("runs/../../evil", "x"), "would lie outside of it"},
		{"an absolute entry", with("/etc/evil", "x"), "would lie outside of it"},
		{"another system's path", with(`runs\..\evil`, "x"), "would lie outside of it"},
		{"a link", with(&tar.Header{Typeflag: tar.TypeSymlink, Name: "runs/x", Linkname: "/etc/passwd"}, ""), `the capsule has "runs/x", which is no plain file`},
		{"a folder", with(&tar.Header{Typeflag: tar.TypeDir, Name: "runs/"}, ""), "which is no plain file"},
		{"a name that is too long", with(strings.Repeat("x/", maxName)+"x", "x"), "an entry whose name has 2049 bytes"},
		{"the same twice", with("scenario.yaml", least), "the capsule has scenario.yaml twice"},
		{"too many entries", compressed(t, archive(t, many...)), "more than 10000 entries"},
		{"a scenario that is too large", compressed(t, archive(t, "capsule.json", manifest, "scenario.yaml", big)), "scenario.yaml has 1048577 bytes, and may have 1048576"},
		{"a manifest that is too large", compressed(t, archive(t, "capsule.json", big)), "capsule.json has 1048577 bytes"},
		{"a trace that is too large", with("x.trace", strings.Repeat("1", link.MaxTraceSize+1)), "x.trace has"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := Read(bytes.NewReader(tt.data), "x.tar.zst")
			if err == nil || c != nil {
				t.Fatalf("it was taken: %+v", c)
			}
			if text := err.Error(); !strings.HasPrefix(text, "x.tar.zst") || !strings.Contains(text, tt.want) {
				t.Errorf("%s\nwant %s", text, tt.want)
			}
			if got := errors.Is(err, ErrNotCapsule); got != strings.Contains(tt.want, "not a capsule") {
				t.Errorf("no capsule at all is %v: %v", got, err)
			}
		})
	}
	if c, err := Read(bytes.NewReader(with("runs/own/note.txt", "x", "later.json", "{}")), "x.tar.zst"); err != nil || c.Seed != 3 {
		t.Errorf("further entries are no fault: %v", err)
	}
}

// endless gives zeros for ever, as a bomb does when it goes off.
type endless struct{ read int64 }

func (e *endless) Read(b []byte) (int, error) {
	clear(b)
	e.read += int64(len(b))
	return len(b), nil
}

// A capsule that unpacks to very much is refused when that is seen, by what its
// archive says or by what comes out, and not kept in memory.
func TestBombsAreRefused(t *testing.T) {
	var b bytes.Buffer
	if err := tar.NewWriter(&b).WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "runs/own/packets.pcapng", Size: 1 << 40}); err != nil {
		t.Fatal(err)
	}
	zeros := &endless{}
	_, err := unpack(io.MultiReader(&b, zeros), "x.tar.zst")
	if err == nil || !strings.Contains(err.Error(), "more than 1024 MiB") {
		t.Errorf("%v", err)
	}
	if zeros.read > maxUnpacked+1<<20 {
		t.Errorf("%d bytes were read", zeros.read)
	}
}

func TestWhatIsACapsule(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct {
		name string
		data []byte
		want bool
	}{
		{"any-name", compressed(t, []byte("x")), true},
		{"x.yaml", []byte(least), false},
		{"empty", nil, false},
		{"damaged.TAR.ZST", nil, true},
	} {
		path := filepath.Join(dir, tt.name)
		if err := os.WriteFile(path, tt.data, 0o644); err != nil {
			t.Fatal(err)
		}
		if Is(path) != tt.want {
			t.Errorf("%s is one: %v", tt.name, !tt.want)
		}
	}
	if Is(dir) || Is(filepath.Join(dir, "none")) || Is("/dev/zero") {
		t.Error("a folder, nothing, and a device are none")
	}
}

// FuzzUnpack is about the archive, whatever compressed it.
func FuzzUnpack(f *testing.F) {
	whole := archive(f, "capsule.json", manifest, "scenario.yaml", least)
	f.Add(whole)
	f.Add(whole[:1600])
	f.Add(archive(f, "capsule.json", strings.Replace(manifest, "[]", `[{"name": "x", "entry": "y"}]`, 1), "y", "1\n", "scenario.yaml", least))
	f.Fuzz(func(t *testing.T, data []byte) { sane(t)(unpack(bytes.NewReader(data), "x")) })
}

// FuzzRead is about the whole file.
func FuzzRead(f *testing.F) {
	whole := compressed(f, archive(f, "capsule.json", manifest, "scenario.yaml", least))
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add([]byte("text"))
	f.Fuzz(func(t *testing.T, data []byte) { sane(t)(Read(bytes.NewReader(data), "x")) })
}

// sane checks that there is either an error, or a capsule that can be run.
func sane(t *testing.T) func(*Capsule, error) {
	return func(c *Capsule, err error) {
		if (c == nil) == (err == nil) {
			t.Fatalf("%+v, %v", c, err)
		}
		if err == nil && (c.Parsed == nil || c.Parsed.ID != c.ID || c.Schema != Schema || len(c.Parsed.Source) > document.MaxSize) {
			t.Errorf("%+v", c)
		}
	}
}
