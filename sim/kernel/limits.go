//go:build linux

package kernel

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// hintFor says what a person can do about an error of the kernel's; it is empty
// where the error speaks for itself.
func hintFor(err error) string {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return " (run as root, or call kernel.Enter first to run in a user namespace; `natlab doctor` says what is missing)"
	case errors.Is(err, unix.EMFILE):
		return " (this process may open no more files: raise the limit with `ulimit -n 65536`)"
	case errors.Is(err, unix.ENFILE):
		return " (the machine may open no more files: `sysctl -w fs.file-max=1000000`)"
	case errors.Is(err, unix.ENOSPC):
		return " (the machine's limit of namespaces is reached: `sysctl -w user.max_net_namespaces=65536`)"
	}
	return ""
}

// descriptorsFor is how many open files a lab of n nodes needs, generously: the
// namespace, a netlink socket, sockets of captures and wires, and what runs.
func descriptorsFor(nodes int) uint64 { return 256 + 12*uint64(nodes) }

// reserveDescriptors makes sure that the lab's descriptors fit into the limit
// of open files. The Go runtime has raised the soft limit to the hard one
// already; root may raise that, too.
func reserveDescriptors(nodes int) error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("read the limit of open files: %w", err)
	}
	need := descriptorsFor(nodes)
	if limit.Cur >= need {
		return nil
	}
	raised := unix.Rlimit{Cur: max(need, limit.Max), Max: max(need, limit.Max)}
	if unix.Setrlimit(unix.RLIMIT_NOFILE, &raised) == nil {
		return nil
	}
	return fmt.Errorf("a lab of %d nodes needs about %d open files, and this process may have %d: run `ulimit -n %d` first (as root, or raise the hard limit in /etc/security/limits.conf)",
		nodes, need, limit.Cur, need)
}
