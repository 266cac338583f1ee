package main

import (
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/cavaliergopher/cpio"

	"p2pmodel/ci/qemu/job"
)

// initramfs writes the machine's files. It is not compressed: emulation would
// take longer to unpack it than this machine to read it.
type initramfs struct {
	w    *cpio.Writer
	made map[string]bool // folders
}

func newInitramfs(w io.Writer) *initramfs {
	return &initramfs{w: cpio.NewWriter(w), made: map[string]bool{}}
}

// folder adds a folder and those above it.
func (i *initramfs) folder(name string) error {
	if name = strings.Trim(path.Clean("/"+name), "/"); name == "" || i.made[name] {
		return nil
	}
	if err := i.folder(path.Dir(name)); err != nil {
		return err
	}
	i.made[name] = true
	return i.w.WriteHeader(&cpio.Header{Name: name, Mode: cpio.TypeDir | 0o755, Links: 2})
}

// text adds a small file.
func (i *initramfs) text(name string, mode cpio.FileMode, content []byte) error {
	name = strings.TrimPrefix(name, "/")
	if err := i.folder(path.Dir(name)); err != nil {
		return err
	}
	if err := i.w.WriteHeader(&cpio.Header{Name: name, Mode: cpio.TypeReg | mode, Size: int64(len(content)), Links: 1}); err != nil {
		return err
	}
	_, err := i.w.Write(content)
	return err
}

// link adds a symbolic link.
func (i *initramfs) link(name, to string) error {
	if err := i.folder(path.Dir(name)); err != nil {
		return err
	}
	if err := i.w.WriteHeader(&cpio.Header{Name: name, Mode: cpio.TypeSymlink | 0o777, Size: int64(len(to)), Links: 1, Linkname: to}); err != nil {
		return err
	}
	_, err := i.w.Write([]byte(to))
	return err
}

// copy adds a file of this machine.
func (i *initramfs) copy(name, from string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	return i.text(name, cpio.FileMode(info.Mode().Perm()), content)
}

// tree adds a folder of this machine, if there is one, with all that is in it.
func (i *initramfs) tree(name, from string) error {
	if _, err := os.Stat(from); err != nil {
		return nil
	}
	return filepath.WalkDir(from, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		below, err := filepath.Rel(from, file)
		if err != nil {
			return err
		}
		if to := path.Join(name, filepath.ToSlash(below)); d.IsDir() {
			return i.folder(to)
		} else {
			return i.copy(to, file)
		}
	})
}

// contents is what goes into the machine.
type contents struct {
	init     string            // the program
	busybox  string            // for tests that run a shell
	programs map[string]string // path in the machine → file
	trees    map[string]string // likewise, folders
	modules  []string
	jobs     []job.Job
}

// applets are those of busybox's programs that tests run.
var applets = []string{"sh", "cat", "env", "false", "grep", "head", "id", "kill", "ls", "printf", "ps", "setsid", "sleep", "sort", "stty", "tail", "test", "true", "tty", "wc"}

// write writes all of it as an initramfs.
func (c contents) write(to io.Writer) error {
	i := newInitramfs(to)
	for _, folder := range []string{"root", "proc", "sys", "dev", "tmp", "run", "var", "etc"} {
		if err := i.folder(folder); err != nil {
			return err
		}
	}
	work := job.Work{Jobs: c.jobs}
	for _, m := range c.modules {
		name := "modules/" + filepath.Base(m)
		if err := i.copy(name, m); err != nil {
			return err
		}
		work.Modules = append(work.Modules, "/"+name)
	}
	plan, err := json.Marshal(work)
	if err != nil {
		return err
	}
	for name, text := range map[string]string{
		job.Plan[1:]: string(plan),
		"etc/passwd": "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n",
		"etc/group":  "root:x:0:\ndaemon:x:1:\nnogroup:x:65534:\n",
		"etc/hosts":  "127.0.0.1 localhost\n",
	} {
		if err := i.text(name, 0o644, []byte(text)); err != nil {
			return err
		}
	}
	if err := i.copy("init", c.init); err != nil {
		return err
	}
	if err := i.copy("bin/busybox", c.busybox); err != nil {
		return err
	}
	for _, name := range applets {
		if err := i.link("bin/"+name, "busybox"); err != nil {
			return err
		}
	}
	for name, from := range c.programs {
		if err := i.copy(name, from); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	for name, from := range c.trees {
		if err := i.tree(name, from); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return i.w.Close()
}
