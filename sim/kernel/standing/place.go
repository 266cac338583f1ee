//go:build linux

package standing

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// DirectoryEnv names the folder of labs, before any other.
const DirectoryEnv = "NATLAB_DIR"

// Directory gives the folder in which this user's labs are found: what
// DirectoryEnv says; else /run/natlab for root, where that can be; else natlab
// below XDG_RUNTIME_DIR, else /tmp/natlab-UID. It is made if it is not there, and
// refused if others own it or may enter.
func Directory() (string, error) {
	if dir := os.Getenv(DirectoryEnv); dir != "" {
		dir, err := filepath.Abs(dir)
		if err != nil {
			return "", err
		}
		return dir, private(dir)
	}
	var candidates []string
	if os.Geteuid() == 0 {
		candidates = append(candidates, "/run/natlab")
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		candidates = append(candidates, filepath.Join(dir, "natlab"))
	}
	candidates = append(candidates, fmt.Sprintf("/tmp/natlab-%d", os.Geteuid()))
	var errs []error
	for _, dir := range candidates {
		err := private(dir)
		if err == nil {
			return dir, nil
		}
		errs = append(errs, err)
	}
	return "", fmt.Errorf("no folder for the sockets of labs (set %s to one of your own): %w", DirectoryEnv, errors.Join(errs...))
}

// private makes a folder that is this user's alone, or makes sure that it is.
func private(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return &fs.PathError{Op: "stat", Path: dir, Err: err}
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return fmt.Errorf("%s is no folder", dir)
	case int(st.Uid) != os.Geteuid():
		return fmt.Errorf("%s belongs to another user", dir)
	case st.Mode&0o077 != 0:
		return fmt.Errorf("others may enter %s: run `chmod 700 %s`", dir, dir)
	}
	return nil
}

// nameForm is what a lab may be called: its files are named after it.
var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// CheckName says what is wrong with a lab's name.
func CheckName(name string) error {
	if !nameForm.MatchString(name) {
		return fmt.Errorf("%q cannot be a lab's name: it is letters, digits, '.', '-' and '_', begins with a letter or a digit, and has at most 64", name)
	}
	return nil
}

// NameFor makes a name of a file's: the last part of its path, without its
// extension, and - for what names do not have.
func NameFor(file string) string {
	base := filepath.Base(file)
	base = strings.TrimSuffix(base, filepath.Ext(base))
	base = strings.Map(func(r rune) rune {
		if r < 0x80 && nameForm.MatchString("a"+string(r)) {
			return r
		}
		return '-'
	}, base)
	if base = strings.TrimLeft(base, "._-"); base == "" {
		base = "lab"
	}
	return base[:min(len(base), 64)]
}

const (
	lockSuffix   = ".lock"
	socketSuffix = ".sock"
	// longestPath is what fits into a socket's address (unix(7)), a NUL less.
	longestPath = len(unix.RawSockaddrUnix{}.Path) - 1
)

// errTaken says that a name is a living lab's.
var errTaken = errors.New("a lab of that name stands already")

// claim is a name that is ours: nobody else's as long as this process lives.
type claim struct {
	lock         *os.File
	path, socket string
}

// claimName takes a name that is free. Whoever removes the files of a dead lab
// holds its lock for a moment, so a name that is taken is looked at again.
func claimName(dir, name string) (*claim, error) {
	c := &claim{path: filepath.Join(dir, name+lockSuffix), socket: filepath.Join(dir, name+socketSuffix)}
	if len(c.socket) > longestPath {
		return nil, fmt.Errorf("the path %s is too long for a socket: give the lab a shorter name, or set %s to a shorter one", c.socket, DirectoryEnv)
	}
	for deadline := time.Now().Add(200 * time.Millisecond); ; {
		lock, err := tryLock(c.path, unix.O_CREAT)
		switch {
		case err == nil:
			c.lock = lock
			if err := os.Remove(c.socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
				c.release()
				return nil, err
			}
			return c, nil
		case !errors.Is(err, errTaken):
			return nil, err
		case time.Now().After(deadline):
			return nil, err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// tryLock opens a lock file and locks it, if no process has it locked. What it
// gives is the file of that name, and not one that was removed meanwhile.
func tryLock(path string, create int) (*os.File, error) {
	for {
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOFOLLOW|create, 0o600)
		if err != nil {
			return nil, &fs.PathError{Op: "open", Path: path, Err: err}
		}
		file := os.NewFile(uintptr(fd), path)
		if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
			_ = file.Close()
			if errors.Is(err, unix.EWOULDBLOCK) {
				return nil, errTaken
			}
			return nil, &fs.PathError{Op: "lock", Path: path, Err: err}
		}
		var ours, named unix.Stat_t
		if err := unix.Fstat(fd, &ours); err != nil {
			_ = file.Close()
			return nil, &fs.PathError{Op: "stat", Path: path, Err: err}
		}
		if err := unix.Stat(path, &named); err == nil && ours.Ino == named.Ino && ours.Dev == named.Dev {
			return file, nil
		}
		_ = file.Close()
	}
}

// release gives the name back and removes its files, in an order in which nobody
// who locks the file afterwards loses one of his own.
func (c *claim) release() {
	_ = os.Remove(c.socket)
	_ = os.Remove(c.path)
	_ = c.lock.Close()
}

// names gives the labs of a folder whose processes live, sorted, and removes what
// dead ones have left.
func names(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var alive []string
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), lockSuffix)
		if !ok {
			continue
		}
		c := &claim{path: filepath.Join(dir, e.Name()), socket: filepath.Join(dir, name+socketSuffix)}
		lock, err := tryLock(c.path, 0)
		switch {
		case err == nil:
			c.lock = lock
			c.release()
		case errors.Is(err, errTaken):
			alive = append(alive, name)
		case !errors.Is(err, fs.ErrNotExist):
			return nil, err
		}
	}
	slices.Sort(alive)
	return alive, nil
}
