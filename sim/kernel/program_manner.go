//go:build linux

package kernel

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"p2pmodel/sim"
)

// manner is how an init starts its program. It comes to the init as JSON in
// its descriptor 4.
type manner struct {
	Hosts    string `json:"hosts,omitempty"` // text of /etc/hosts
	Terminal bool   `json:"terminal,omitempty"`
	// As is the user that the program runs as; nil: as its init.
	As *account `json:"as,omitempty"`
}

const mannerFD = 4

func mannerOf(p sim.Program, as *account) manner {
	return manner{Hosts: p.Hosts, Terminal: p.Terminal, As: as}
}

// file gives the manner as a file for the init, at its beginning.
func (m manner) file() (*os.File, error) {
	data, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	fd, err := unix.MemfdCreate("manner", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a file in memory for a program's init: %w%s", err, hintFor(err))
	}
	f := os.NewFile(uintptr(fd), "manner")
	if _, err = f.WriteAt(data, 0); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("write a file in memory for a program's init: %w", err)
	}
	return f, nil
}

// readManner reads it, in the init.
func readManner() (m manner, err error) {
	f := os.NewFile(mannerFD, "manner")
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(f)
	if err != nil {
		return m, err
	}
	return m, json.Unmarshal(data, &m)
}

// attributes are those of the program's process.
func (m manner) attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: m.Terminal, Setctty: m.Terminal, Ctty: 0, Credential: m.As.credential()}
}

// mount changes what the program sees of the file system: nobody outside of its
// mount namespace sees that.
func (m manner) mount() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if m.Hosts != "" {
		if err := m.mountHosts(); err != nil {
			return err
		}
	}
	return mountProc()
}

// resolver sends questions for names that /etc/hosts does not have to the host
// itself, where nobody answers, unless a program does: they fail at once. The
// machine's own name servers are out of reach, and would be waited for.
const resolver = "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"

// mountHosts puts files over /etc/hosts and /etc/resolv.conf. They live in a
// file system in memory that is mounted where there surely is a directory, until
// that is needed. What a machine does not have it keeps not having.
func (m manner) mountHosts() (err error) {
	const at = "/proc"
	if err := unix.Mount("tmpfs", at, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=755"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unix.Unmount(at, unix.MNT_DETACH)) }()
	for _, f := range []struct{ over, text string }{{"/etc/hosts", m.Hosts}, {"/etc/resolv.conf", resolver}} {
		file := at + f.over[len("/etc"):]
		if err := os.WriteFile(file, []byte(f.text), 0o644); err != nil {
			return err
		}
		if err := os.Chmod(file, 0o644); err != nil { // whatever our umask is
			return err
		}
		if err := unix.Mount(file, f.over, "", unix.MS_BIND, ""); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// mountProc gives the PID namespace a /proc of its own. In containers that hide
// parts of /proc the kernel forbids it to other than the real root; programs then
// see the processes outside.
func mountProc() error {
	err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	if errors.Is(err, unix.EPERM) {
		return nil
	}
	return err
}
