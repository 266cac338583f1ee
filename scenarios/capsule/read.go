package capsule

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"

	"p2pmodel/scenarios"
	"p2pmodel/sim/document"
	"p2pmodel/sim/link"
)

// Bounds of what is unpacked: a file of a stranger may be made to fill a memory.
const (
	maxUnpacked = 1 << 30
	maxEntries  = 10_000
	maxName     = 1024
	maxManifest = 1 << 20
	maxWindow   = 64 << 20 // what zstd -19 makes has 8 MiB
)

// ErrNotCapsule is the error of Read for what is no capsule at all.
var ErrNotCapsule = errors.New("not a capsule")

// Capsule is what is needed of a capsule to run its scenario again.
type Capsule struct {
	Path string
	Manifest
	// Parsed is the scenario. Its File is the capsule.
	Parsed *scenarios.Scenario
}

// Load reads a capsule from a file. Paths in the scenario are relative to the
// folder that they were relative to, if that exists here, else to the capsule's own.
func Load(file string) (*Capsule, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read capsule: %w", err)
	}
	defer f.Close()
	c, err := Read(f, file)
	if err != nil {
		return nil, err
	}
	c.Parsed.Folder = filepath.Dir(file)
	if there := c.Scenario.Folder; filepath.IsAbs(there) {
		if info, err := os.Stat(there); err == nil && info.IsDir() {
			c.Parsed.Folder = there
		}
	}
	return c, nil
}

// Read reads a capsule; file is for messages. Whatever is wrong with one is an
// error: nothing is written, and what is read into memory is bounded.
func Read(r io.Reader, file string) (*Capsule, error) {
	zr, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(maxUnpacked))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	defer zr.Close()
	c, err := unpack(zr, file)
	switch {
	case err == nil:
		return c, nil
	case errors.Is(err, zstd.ErrMagicMismatch), errors.Is(err, tar.ErrHeader), errors.Is(err, errEmpty):
		return nil, fmt.Errorf("%s: %w: a capsule is a tar archive, compressed by zstd, with %s in it", file, ErrNotCapsule, manifestEntry)
	case errors.Is(err, zstd.ErrCRCMismatch):
		return nil, fmt.Errorf("%s: the capsule is damaged: %w", file, err)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil, fmt.Errorf("%s: the capsule is cut off, or is none: %w", file, err)
	}
	var places document.Errors
	if errors.As(err, &places) { // each begins with its place
		return nil, err
	}
	return nil, fmt.Errorf("%s: %w", file, err)
}

// errEmpty is the error for no archive at all.
var errEmpty = errors.New("nothing is in it")

// limited reads so much and no more.
type limited struct {
	r    io.Reader
	left int64
}

func (l *limited) Read(b []byte) (int, error) {
	n, err := l.r.Read(b)
	if l.left -= int64(n); l.left < 0 {
		return 0, fmt.Errorf("it unpacks to more than %d MiB, which no capsule does", maxUnpacked>>20)
	}
	return n, err
}

// unpack reads a capsule from its tar archive.
func unpack(r io.Reader, file string) (*Capsule, error) {
	all := &limited{r, maxUnpacked}
	found, err := collect(tar.NewReader(all))
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, errEmpty
	}
	// Only at its end a compressed file shows whether it is whole.
	if _, err := io.Copy(io.Discard, all); err != nil {
		return nil, err
	}
	c := &Capsule{Path: file}
	if err := c.manifest(found); err != nil {
		return nil, err
	}
	source, ok := found[scenarioEntry]
	if !ok {
		return nil, fmt.Errorf("the capsule has no %s", scenarioEntry)
	}
	referred := map[string][]byte{}
	for _, r := range c.Scenario.Referred {
		data, ok := found[r.Entry]
		if !ok {
			return nil, fmt.Errorf("the capsule has no %s, which its scenario calls %s", r.Entry, r.Name)
		}
		referred[r.Name] = data
	}
	sc, err := scenarios.ParseAttached(file+"/"+scenarioEntry, source, referred)
	if err != nil {
		return nil, err
	}
	if sc.ID != c.ID {
		return nil, fmt.Errorf("%s is about %q, and the scenario in it is %q", manifestEntry, c.ID, sc.ID)
	}
	sc.File, c.Parsed = file, sc
	return c, nil
}

// manifest reads and checks capsule.json.
func (c *Capsule) manifest(found map[string][]byte) error {
	data, ok := found[manifestEntry]
	if !ok {
		return fmt.Errorf("%w: it has no %s", ErrNotCapsule, manifestEntry)
	}
	var version struct {
		Schema   int      `json:"schema"`
		Versions Versions `json:"versions"`
	}
	if err := json.Unmarshal(data, &version); err != nil {
		return fmt.Errorf("%s: %w", manifestEntry, err)
	}
	if version.Schema != Schema {
		return fmt.Errorf("the capsule has schema %d and this natlab reads %d: run it with the natlab that made it (%s)", version.Schema, Schema, version.Versions)
	}
	c.Fabric = kernelFabric
	if err := json.Unmarshal(data, &c.Manifest); err != nil {
		return fmt.Errorf("%s: %w", manifestEntry, err)
	}
	return nil
}

// collect reads the entries that a replay needs, and looks at the names of all.
func collect(tr *tar.Reader) (map[string][]byte, error) {
	found, seen := map[string][]byte{}, map[string]bool{}
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return found, nil
		}
		if err != nil {
			return nil, err
		}
		if err := sound(h); err != nil {
			return nil, err
		}
		if seen[h.Name] {
			return nil, fmt.Errorf("the capsule has %s twice", h.Name)
		}
		if seen[h.Name] = true; len(seen) > maxEntries {
			return nil, fmt.Errorf("the capsule has more than %d entries", maxEntries)
		}
		most := mostOf(h.Name)
		if most == 0 {
			continue
		}
		if h.Size > most {
			return nil, fmt.Errorf("%s has %d bytes, and may have %d", h.Name, h.Size, most)
		}
		var data bytes.Buffer
		if _, err := io.Copy(&data, tr); err != nil {
			return nil, err
		}
		found[h.Name] = data.Bytes()
	}
}

// sound checks what kind of entry it is and where it would lie.
func sound(h *tar.Header) error {
	if len(h.Name) > maxName {
		return fmt.Errorf("the capsule has an entry whose name has %d bytes", len(h.Name))
	}
	if h.Typeflag != tar.TypeReg {
		return fmt.Errorf("the capsule has %q, which is no plain file", h.Name)
	}
	if !filepath.IsLocal(h.Name) || path.Clean(h.Name) != h.Name || strings.ContainsAny(h.Name, "\\\x00") {
		return fmt.Errorf("the capsule has %q, which would lie outside of it", h.Name)
	}
	return nil
}

// mostOf is how large an entry may be that is read; 0: it is passed over. Files of
// the scenario's own may have any name but those of the other parts.
func mostOf(name string) int64 {
	first, _, _ := strings.Cut(name, "/")
	switch {
	case name == manifestEntry:
		return maxManifest
	case name == scenarioEntry:
		return document.MaxSize
	case first == runsFolder, name == readmeEntry, name == resultsEntry:
		return 0
	}
	return link.MaxTraceSize
}
