//go:build linux

package kernel

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// errClosed is what everything says that comes after Close.
var errClosed = errors.New("the lab is closed")

// namespace is a network namespace that nothing holds but our descriptor: no
// name, no mount, no process. When the descriptor is closed, by us or by the
// death of this process, the kernel takes the namespace down.
type namespace struct {
	mu sync.RWMutex // guards fd; held only while a thread enters
	fd int          // -1 once closed
}

// home is the network namespace that this process started in. One descriptor
// for the life of the process.
var home = sync.OnceValues(func() (int, error) {
	fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open this process's network namespace: %w", err)
	}
	return fd, nil
})

// newNamespace makes a namespace and runs setUp inside it, so that what must be
// set there first costs no second entry.
func newNamespace(setUp func() error) (*namespace, error) {
	n := &namespace{fd: -1}
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w%s", err, hintFor(err))
		}
		fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open a new network namespace: %w%s", err, hintFor(err))
		}
		n.fd = fd
		return setUp()
	})
	if err != nil {
		n.close()
		return nil, err
	}
	return n, nil
}

// inside runs f on a thread of the namespace. Sockets that f makes belong to
// the namespace and can be used from any goroutine afterwards; goroutines that
// f starts run elsewhere.
func (n *namespace) inside(f func() error) error {
	return onThread(func() error {
		if err := n.enter(); err != nil {
			return err
		}
		return f()
	})
}

// enter moves the calling thread, which must be locked, into the namespace.
func (n *namespace) enter() error {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if n.fd < 0 {
		return errClosed
	}
	if err := unix.Setns(n.fd, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter a network namespace: %w", err)
	}
	return nil
}

// use runs f with the descriptor, which stays open meanwhile.
func (n *namespace) use(f func(fd int) error) error {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if n.fd < 0 {
		return errClosed
	}
	return f(n.fd)
}

func (n *namespace) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fd >= 0 {
		_ = unix.Close(n.fd)
		n.fd = -1
	}
}

// onThread runs f on a thread of its own whose network namespace f may change.
// The thread goes home afterwards. One that cannot is never used again: its
// goroutine ends locked, and the runtime ends the thread.
func onThread(f func() error) error {
	origin, err := home()
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		// The answer is given after the thread is home, so that nobody finds
		// a thread of ours in a namespace that he believes to be closed.
		var err error
		defer func() { done <- err }()
		err = f()
		if back := unix.Setns(origin, unix.CLONE_NEWNET); back != nil {
			err = errors.Join(err, fmt.Errorf("leave a network namespace: %w", back))
			return
		}
		runtime.UnlockOSThread()
	}()
	return <-done
}

// setting is a file under /proc/sys and what it is to say.
type setting struct{ path, value string }

// Settings of every namespace. IPv6 is off: a lab is IPv4 for now, and router
// solicitations and duplicate address detection would fill the captures.
// Reverse path filters are off, since they drop what a lab wants to see; the
// kernel gives new namespaces those of the machine, which differ by
// distribution. ip_forward comes first: writing it resets others.
var (
	hostSettings = []setting{
		{"/proc/sys/net/ipv4/ip_forward", "0"},
		{"/proc/sys/net/ipv6/conf/all/disable_ipv6", "1"},
		{"/proc/sys/net/ipv4/conf/all/rp_filter", "0"},
		{"/proc/sys/net/ipv4/conf/default/rp_filter", "0"},
	}
	routerSettings = []setting{
		{"/proc/sys/net/ipv4/ip_forward", "1"},
		{"/proc/sys/net/ipv6/conf/all/disable_ipv6", "1"},
		{"/proc/sys/net/ipv4/conf/all/rp_filter", "0"},
		{"/proc/sys/net/ipv4/conf/default/rp_filter", "0"},
		// A hairpinned packet comes back with an address of the router's own
		// as its source.
		{"/proc/sys/net/ipv4/conf/all/accept_local", "1"},
		{"/proc/sys/net/ipv4/conf/default/accept_local", "1"},
		// Point-to-point links share no segment: there is nobody to redirect.
		{"/proc/sys/net/ipv4/conf/all/send_redirects", "0"},
		{"/proc/sys/net/ipv4/conf/default/send_redirects", "0"},
		// No error that a router makes is held back.
		unlimitedErrors[0],
	}
	// Without a rate of ICMP errors for each destination (icmp_ratelimit) there
	// still would be one for all, of 50 at once.
	unlimitedErrors = []setting{{"/proc/sys/net/ipv4/icmp_ratemask", "0"}}
)

// apply writes settings in the namespace of the calling thread. Those that the
// kernel does not have are left out: without IPv6 there is nothing to disable.
func apply(settings []setting) error {
	for _, s := range settings {
		fd, err := unix.Open(s.path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err == nil {
			_, err = unix.Write(fd, []byte(s.value))
			_ = unix.Close(fd)
		}
		if err != nil {
			return fmt.Errorf("write %s to %s: %w (is /proc/sys mounted read-only, as in a container?)", s.value, s.path, err)
		}
	}
	return nil
}

// always gives the same settings.
func always(settings []setting) func() []setting { return func() []setting { return settings } }

// differing gives those of the settings that a fresh namespace does not have
// already; the calling thread must be in one. Writing costs several times what
// reading does, and all fresh namespaces are alike.
func differing(settings []setting) []setting {
	var differ []setting
	for _, s := range settings {
		if b, err := os.ReadFile(s.path); err != nil || strings.TrimSpace(string(b)) != s.value {
			differ = append(differ, s)
		}
	}
	return differ
}
