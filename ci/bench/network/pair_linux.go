package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// The addresses. They are of the benchmarking network (RFC 2544).
var (
	System  = netip.MustParseAddr("198.18.0.1")
	Clients = netip.MustParseAddr("198.18.0.2")
	Peers   = netip.MustParseAddr("198.18.0.3")
)

const prefix = 24

// Pair is the two namespaces. Load and System are threads within them.
type Pair struct {
	Load, System *Thread
	// SystemHardware is the address of the system's interface.
	SystemHardware net.HardwareAddr
}

// LoadInterface is the name of the load's.
const LoadInterface = "load"

// New makes a Pair. Each side keeps to its processor.
func New(loadCPU, systemCPU int) (*Pair, error) {
	load, err := newThread(loadCPU)
	if err != nil {
		return nil, err
	}
	system, err := newThread(systemCPU)
	if err != nil {
		load.End()
		return nil, err
	}
	p := &Pair{Load: load, System: system}
	err = load.Do(func() error {
		link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: LoadInterface, MTU: 1500}, PeerName: SystemInterface, PeerNamespace: netlink.NsFd(system.namespace)}
		if err := netlink.LinkAdd(link); err != nil {
			return err
		}
		return up(LoadInterface, Clients, Peers)
	})
	if err == nil {
		err = system.Do(func() error {
			if err := up(SystemInterface, System); err != nil {
				return err
			}
			i, err := net.InterfaceByName(SystemInterface)
			if err == nil {
				p.SystemHardware = i.HardwareAddr
			}
			return err
		})
	}
	if err != nil {
		p.Close()
		return nil, fmt.Errorf("veth pair: %w", err)
	}
	return p, nil
}

// SystemInterface is the name of the system's.
const SystemInterface = "system"

// Receive has each side's processor do what the kernel does for packets that come to it, as the interrupts of
// an interface of its own would. Without it whoever sends over a veth pair does that in the same
// breath: the load's what the system receives, and the system's what the load does.
func (p *Pair) Receive(loadCPU, systemCPU int) error {
	return errors.Join(
		p.Load.Do(func() error { return receive(LoadInterface, loadCPU) }),
		p.System.Do(func() error { return receive(SystemInterface, systemCPU) }),
	)
}

func receive(name string, cpu int) error {
	// Its interfaces are in a sysfs of its own, which needs mounts of its own.
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keep mounts to ourselves: %w", err)
	}
	if err := unix.Mount("sysfs", "/sys", "sysfs", 0, ""); err != nil {
		return fmt.Errorf("mount sysfs: %w", err)
	}
	file := "/sys/class/net/" + name + "/queues/rx-0/rps_cpus"
	if err := os.WriteFile(file, fmt.Appendf(nil, "%x", 1<<cpu), 0); err != nil {
		return fmt.Errorf("receive on processor %d: %w", cpu, err)
	}
	return nil
}

// Close gives both up.
func (p *Pair) Close() {
	p.Load.End()
	p.System.End()
}

func up(name string, addresses ...netip.Addr) error {
	for _, link := range []string{"lo", name} {
		l, err := netlink.LinkByName(link)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetUp(l); err != nil {
			return err
		}
		if link == "lo" {
			continue
		}
		for _, a := range addresses {
			err := netlink.AddrAdd(l, &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(prefix, 32)}})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// Thread is a thread in a network namespace of its own, on one processor. Sockets that
// it opens and programs that it starts stay there.
type Thread struct {
	namespace netns.NsHandle
	calls     chan func()
}

func newThread(cpu int) (*Thread, error) {
	t := &Thread{calls: make(chan func())}
	began := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := t.enter(cpu)
		began <- err
		if err != nil {
			return
		}
		for f := range t.calls {
			f()
		}
	}()
	return t, <-began
}

func (t *Thread) enter(cpu int) (err error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		if errors.Is(err, unix.EPERM) {
			return errors.New("network namespaces take root")
		}
		return fmt.Errorf("network namespace: %w", err)
	}
	if t.namespace, err = netns.Get(); err != nil {
		return fmt.Errorf("network namespace: %w", err)
	}
	return Pin(cpu)
}

// Do has the thread call f, and waits.
func (t *Thread) Do(f func() error) error {
	done := make(chan error)
	t.calls <- func() { done <- f() }
	return <-done
}

// End ends the thread.
func (t *Thread) End() {
	close(t.calls)
	_ = t.namespace.Close()
}

// Pin keeps the calling thread, and what it starts, to a processor.
func Pin(cpu int) error {
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("keep to processor %d: %w", cpu, err)
	}
	return nil
}
