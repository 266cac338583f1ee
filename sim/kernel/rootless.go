//go:build linux

package kernel

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// enteredEnv marks the process that Enter has started in a user namespace.
const enteredEnv = "P2PMODEL_ENTERED"

// ErrNoUserNamespaces is in errors of Enter.
var ErrNoUserNamespaces = errors.New("user namespaces are not permitted here")

// Enter gets this process what it takes to build labs. Where it has that
// already, as root has, Enter does nothing. Otherwise it runs the same binary
// with the same arguments in a user, a network and a mount namespace of its own,
// where it is root over nothing but those, and ends this process as that one
// ended: standard input and output are passed on, so are signals, and it does
// not outlive us. Enter then does not return.
//
// Where user namespaces are not permitted the error says what to do. Call Enter
// after Init, before anything else has been started.
func Enter() error {
	if !initialised {
		return errors.New("kernel.Enter was called before kernel.Init")
	}
	entered := os.Getenv(enteredEnv) != ""
	_ = os.Unsetenv(enteredEnv) // what we start is not what was entered
	err := onThread(func() error { return unix.Unshare(unix.CLONE_NEWNET) })
	switch {
	case err == nil && entered:
		return loopbackUp()
	case err == nil:
		return nil
	case entered:
		return fmt.Errorf("%w: the kernel gave one without rights in it (%w): %s", ErrNoUserNamespaces, err, remedy(readSetting))
	}
	child, err := startEntered()
	if err != nil {
		return fmt.Errorf("%w (%w): %s", ErrNoUserNamespaces, err, remedy(readSetting))
	}
	os.Exit(child.accompany())
	return nil
}

// loopbackUp gives the fresh network namespace a loopback that works, for what
// this process talks to itself.
func loopbackUp() error {
	rt, err := openRtnetlink()
	if err != nil {
		return err
	}
	defer rt.close()
	var b batch
	b.state(&iface{index: 1, name: "lo"}, true)
	return rt.do(&b)
}

// entered is the process in the user namespace, in a process group of its own.
type entered struct {
	pid      int
	terminal bool // it has the terminal that we had
}

func startEntered() (*entered, error) {
	// The kernel kills the child when the thread that made it ends: ours waits
	// for it and does nothing else.
	runtime.LockOSThread()
	attr := &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET | unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
		// In a group of its own it gets a signal once: from us, or from the
		// terminal.
		Setpgid: true,
	}
	foreground, err := unix.IoctlGetInt(0, unix.TIOCGPGRP)
	terminal := err == nil && foreground == unix.Getpgrp()
	if terminal {
		attr.Foreground, attr.Ctty = true, 0
	}
	pid, err := syscall.ForkExec("/proc/self/exe", os.Args, &syscall.ProcAttr{
		Env:   append(os.Environ(), enteredEnv+"=1"),
		Files: []uintptr{0, 1, 2},
		Sys:   attr,
	})
	if err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	return &entered{pid, terminal}, nil
}

// accompany passes signals on until the process ends, and gives its exit code,
// or 128 plus the signal that ended it.
func (e *entered) accompany() int {
	// Taking the terminal back from behind would stop us otherwise.
	signal.Ignore(unix.SIGTTOU)
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2, unix.SIGWINCH)
	go func() {
		for s := range signals {
			_ = unix.Kill(e.pid, s.(syscall.Signal))
		}
	}()
	for {
		var status unix.WaitStatus
		_, err := unix.Wait4(e.pid, &status, unix.WUNTRACED, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return exitNotStarted
		case status.Exited():
			return status.ExitStatus()
		case status.Signaled():
			return exitSignalled + int(status.Signal())
		case status.Stopped():
			e.pause()
		}
	}
}

// pause stops this process as well, since that is the one whose shell waits,
// and goes on when the shell lets us.
func (e *entered) pause() {
	_ = unix.Kill(os.Getpid(), unix.SIGSTOP)
	if e.terminal {
		if foreground, err := unix.IoctlGetInt(0, unix.TIOCGPGRP); err == nil && foreground == unix.Getpgrp() {
			_ = unix.IoctlSetPointerInt(0, unix.TIOCSPGRP, e.pid)
		}
	}
	_ = unix.Kill(-e.pid, unix.SIGCONT)
}

// readSetting reads a file under /proc/sys; "" if there is none.
func readSetting(name string) string {
	b, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(name, ".", "/"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// remedy says what lets an ordinary user make user namespaces, by the settings
// that are known to forbid it.
func remedy(read func(name string) string) string {
	const orRoot = ", or run as root: `sudo …`"
	switch {
	case read("user.max_user_namespaces") == "0":
		return "run `sudo sysctl -w user.max_user_namespaces=15000`" + orRoot
	case read("kernel.unprivileged_userns_clone") == "0": // Debian's
		return "run `sudo sysctl -w kernel.unprivileged_userns_clone=1`" + orRoot
	case read("kernel.apparmor_restrict_unprivileged_userns") == "1": // Ubuntu's
		return "run `sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`" + orRoot
	case read("user.max_user_namespaces") == "":
		return "this kernel has none (CONFIG_USER_NS); run as root: `sudo …`"
	}
	return "something forbids them, perhaps the seccomp filter of a container (docker run --privileged); run as root: `sudo …`"
}
