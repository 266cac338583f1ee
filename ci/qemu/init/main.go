//go:build linux

// Command init is the first process of the virtual machine that ci/qemu starts,
// and all of its user space but what it runs: it mounts what programs expect,
// loads modules, runs the jobs of the plan one after another with their output on
// the console, and switches the machine off.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"p2pmodel/ci/qemu/job"
)

func main() {
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "init: it is for the virtual machine of `make qemu`, and runs as its first process only")
		os.Exit(2)
	}
	if err := run(); err != nil {
		fmt.Println("init:", err)
	}
	// What is written to a serial line leaves at the speed of the emulation.
	time.Sleep(200 * time.Millisecond)
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		fmt.Println("init: power off:", err)
	}
	select {}
}

func run() error {
	if err := mountAll(); err != nil {
		return err
	}
	plan, err := os.ReadFile(job.Plan)
	if err != nil {
		return err
	}
	var work job.Work
	if err := json.Unmarshal(plan, &work); err != nil {
		return fmt.Errorf("%s: %w", job.Plan, err)
	}
	for _, module := range work.Modules {
		if err := load(module); err != nil {
			fmt.Printf("init: module %s: %v\n", module, err)
		}
	}
	if err := upLoopback(); err != nil {
		return err
	}
	results, err := os.OpenFile(job.Results, os.O_WRONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(results)
	for _, j := range work.Jobs {
		if err := encoder.Encode(perform(j)); err != nil {
			return err
		}
	}
	return results.Close()
}

// mountAll mounts the file systems that programs expect, and sets what they ask
// of a system.
func mountAll() error {
	for _, m := range []struct{ what, where, data string }{
		{"proc", "/proc", ""},
		{"sysfs", "/sys", ""},
		{"devtmpfs", "/dev", ""},
		{"devpts", "/dev/pts", "ptmxmode=0666"},
		{"tmpfs", "/dev/shm", ""},
		{"tmpfs", "/tmp", "mode=1777"},
		{"tmpfs", "/run", ""},
		{"cgroup2", "/sys/fs/cgroup", ""},
	} {
		if err := os.MkdirAll(m.where, 0o755); err != nil {
			return err
		}
		err := unix.Mount(m.what, m.where, m.what, 0, m.data)
		if err != nil && !errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("mount %s at %s: %w", m.what, m.where, err)
		}
	}
	// devtmpfs has the devices, not the links that udev would make.
	for name, to := range map[string]string{"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"} {
		if err := os.Symlink(to, "/dev/"+name); err != nil {
			return err
		}
	}
	for name, value := range map[string]string{
		"PATH": "/bin", "HOME": "/root", "TMPDIR": "/tmp", "NO_COLOR": "1", "USER": "root",
	} {
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	// On one processor a wire's burst may wait here as a whole.
	if err := os.WriteFile("/proc/sys/net/core/netdev_max_backlog", []byte("100000"), 0); err != nil {
		return err
	}
	limit := unix.Rlimit{Cur: 1 << 20, Max: 1 << 20}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("open files: %w", err)
	}
	return unix.Sethostname([]byte("qemu"))
}

func load(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}

func upLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}
