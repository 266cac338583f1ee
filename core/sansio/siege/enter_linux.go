package siege

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// variable tells the process that it is in its namespace, or why it is not.
const variable = "P2PMODEL_SIEGE"

// Enter starts the test's program again in a network namespace of its own, and ends
// with its exit code; there it returns. TestMain calls it first. Where no namespace is
// permitted it returns as well, and Ready says why.
func Enter() {
	switch os.Getenv(variable) {
	case "":
	case "inside":
		if err := furnish(); err != nil {
			fmt.Fprintln(os.Stderr, "siege:", err)
			os.Exit(1)
		}
		return
	default:
		return
	}
	var exit *exec.ExitError
	switch err := again(); {
	case err == nil:
		os.Exit(0)
	case errors.As(err, &exit):
		os.Exit(max(exit.ExitCode(), 1))
	default:
		os.Setenv(variable, err.Error())
	}
}

// Ready is nil in the namespace.
func Ready() error {
	switch state := os.Getenv(variable); state {
	case "inside":
		return nil
	case "":
		return errors.New("TestMain did not call siege.Enter")
	default:
		return fmt.Errorf("%w (%s)", ErrNoNamespace, state)
	}
}

// again runs this program in a new namespace: as root in one of its own, else in a user
// namespace where we are root.
func again() error {
	c := exec.Command("/proc/self/exe", os.Args[1:]...)
	c.Args[0] = os.Args[0]
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	c.Env = append(os.Environ(), variable+"=inside")
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		c.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		c.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		c.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	return c.Run()
}

// furnish brings the loopback up and gives it the addresses: on it, a network's
// addresses are all the host's own.
func furnish() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open a socket: %w", err)
	}
	defer unix.Close(fd)
	set := func(name string, request uint, fill func(*unix.Ifreq) error) error {
		r, err := unix.NewIfreq(name)
		if err == nil {
			err = fill(r)
		}
		if err == nil {
			err = unix.IoctlIfreq(fd, request, r)
		}
		if err != nil {
			return fmt.Errorf("set up %s: %w", name, err)
		}
		return nil
	}
	if err := set("lo", unix.SIOCSIFFLAGS, func(r *unix.Ifreq) error { r.SetUint16(unix.IFF_UP); return nil }); err != nil {
		return err
	}
	for i, n := range Networks {
		name, address := fmt.Sprintf("lo:%d", i+1), n.Addr().Next()
		if n.Contains(Own) {
			address = Own
		}
		mask := netip.AddrFrom4([4]byte{0xff, 0xff, 0xff, 0xff})
		prefix, err := mask.Prefix(n.Bits())
		if err != nil {
			return err
		}
		for _, step := range []struct {
			request uint
			value   netip.Addr
		}{{unix.SIOCSIFADDR, address}, {unix.SIOCSIFNETMASK, prefix.Addr()}} {
			if err := set(name, step.request, func(r *unix.Ifreq) error { return r.SetInet4Addr(step.value.AsSlice()) }); err != nil {
				return err
			}
		}
	}
	return nil
}
