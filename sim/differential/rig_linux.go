package differential

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"
	"unsafe"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"p2pmodel/nat"
	"p2pmodel/nat/ruleset"
	"p2pmodel/sim/kernel/droplog"
)

// Rig is a router in a network namespace of its own, that stands for any number of
// schedules. In the place of links it has two TUN devices: a packet is written into
// one, and when the write returns the kernel has routed and translated it, and it can
// be read from a device, or the netfilter log has told that a rule dropped it. So
// nothing waits, and nothing is guessed from silence. It is not safe for concurrent
// use.
type Rig struct {
	ns       int
	lan, wan int // descriptors of the devices
	drops    int
	conn     *nftables.Conn
	config   ruleset.Config
	packets  uint64
	buffer   []byte
}

const (
	lanName = "lan"
	wanName = "wan"
)

// NewRig makes one. It takes root, or a user namespace, and /dev/net/tun.
func NewRig() (_ *Rig, err error) {
	r := &Rig{ns: -1, lan: -1, wan: -1, drops: -1, buffer: make([]byte, 1<<16)}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("rig: %w", err), r.Close())
		}
	}()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		done <- r.open()
	}()
	if err := <-done; err != nil {
		return nil, err
	}
	if r.conn, err = nftables.New(nftables.WithNetNSFd(r.ns)); err != nil {
		return nil, err
	}
	return r, nil
}

// open makes the namespace and all that is in it, from within.
func (r *Rig) open() (err error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("make a network namespace: %w (run as root)", err)
	}
	if r.ns, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return err
	}
	settings := ruleset.Sysctls()
	settings["net/ipv6/conf/default/disable_ipv6"] = "1"
	for path, value := range settings {
		err := os.WriteFile(filepath.Join("/proc/sys", path), []byte(value), 0o644)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	if r.lan, err = openTUN(lanName); err != nil {
		return err
	}
	if r.wan, err = openTUN(wanName); err != nil {
		return err
	}
	h, err := netlink.NewHandleAt(netns.NsHandle(r.ns))
	if err != nil {
		return err
	}
	defer h.Close()
	if err := address(h, lanName, netip.PrefixFrom(insideNet.Addr().Next(), insideNet.Bits())); err != nil {
		return err
	}
	var external []netip.Prefix
	for _, a := range ExternalAddrs(MaxExternal) {
		external = append(external, netip.PrefixFrom(a, outsideNet.Bits()))
	}
	if err := address(h, wanName, external...); err != nil {
		return err
	}
	r.drops, err = droplog.OpenAtOnce()
	return err
}

// openTUN makes a TUN device in the thread's namespace.
func openTUN(name string) (int, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("open /dev/net/tun: %w (modprobe tun; in a container: --device /dev/net/tun)", err)
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("make the TUN device %s: %w", name, err)
	}
	return fd, nil
}

// address gives an interface its addresses and sets it up.
func address(h *netlink.Handle, name string, prefixes ...netip.Prefix) error {
	l, err := h.LinkByName(name)
	if err != nil {
		return err
	}
	for _, p := range prefixes {
		a, err := netlink.ParseAddr(p.String())
		if err == nil {
			err = h.AddrAdd(l, a)
		}
		if err != nil {
			return fmt.Errorf("address %v of %s: %w", p, name, err)
		}
	}
	return h.LinkSetUp(l)
}

// Close takes it away.
func (r *Rig) Close() error {
	var errs []error
	for _, fd := range []int{r.lan, r.wan, r.drops, r.ns} {
		if fd >= 0 {
			errs = append(errs, unix.Close(fd))
		}
	}
	return errors.Join(errs...)
}

// Install gives the router a NAT that has no state.
func (r *Rig) Install(b nat.Behavior, external []netip.Addr) error {
	r.config = ruleset.Config{Router: "rig", Behavior: b, Outside: wanName, External: external, Log: true}
	return ruleset.Install(r.conn, r.config)
}

// recount is for how long conntrack's count of flows may hold such as are no longer:
// it looks at none twice in two ticks.
const recount = 30 * time.Millisecond

// change does a step that is no packet and takes no time.
func (r *Rig) change(s Step) error {
	switch s.Do {
	case Flush:
		err := ruleset.Empty(r.conn)
		if r.config.Behavior.Kind != nat.KindRFC && r.config.Behavior.TableSize > 0 {
			time.Sleep(recount)
		}
		return err
	case Rebind:
		var hosts []netip.Addr
		if s.Host != 0 {
			hosts = append(hosts, HostAddr(s.Host))
		}
		_, err := ruleset.Rebind(r.conn, hosts...)
		return err
	case Reboot:
		if s.External > 0 {
			r.config.External = ExternalAddrs(s.External)
		}
		return ruleset.Flush(r.conn, r.config)
	case Swap:
		r.config.Behavior = s.Behavior
		return ruleset.Install(r.conn, r.config)
	}
	return nil
}

// A packet that came out nowhere is looked for again so often, after so long each time:
// another processor may be at it, if it is the one that serves a device's queue.
const (
	looks    = 5
	patience = 10 * time.Millisecond
)

// send sends packets, all at one instant, and finds what became of each, and between
// which times that was.
func (r *Rig) send(all []sent) (from, to time.Time, err error) {
	first := r.packets + 1
	r.packets += uint64(len(all))
	errs := make([]unix.Errno, len(all))
	begun, done := make([]time.Time, len(all)), make([]time.Time, len(all))
	write := func(i int, data []byte) {
		fd := r.lan
		if all[i].step.Do == In {
			fd = r.wan
		}
		begun[i] = time.Now()
		_, errs[i] = quick(unix.SYS_WRITE, fd, data)
		done[i] = time.Now()
	}
	var data [][]byte
	for i, s := range all {
		data = append(data, encode(s.packet, s.step.Do == Out, first+uint64(i)))
	}
	if len(all) == 1 {
		write(0, data[0])
	} else {
		var wait sync.WaitGroup
		start := make(chan struct{})
		for i := range all {
			wait.Go(func() { <-start; write(i, data[i]) })
		}
		close(start)
		wait.Wait()
	}
	from, to = slices.MinFunc(begun, time.Time.Compare), slices.MaxFunc(done, time.Time.Compare)
	for _, errno := range errs {
		if errno != 0 {
			return from, to, fmt.Errorf("write into the TUN device: %w", errno)
		}
	}
	err = r.collect(all, first)
	for range looks {
		if err != nil || !slices.ContainsFunc(all, func(s sent) bool { return s.found == 0 }) {
			break
		}
		time.Sleep(patience)
		err = r.collect(all, first)
	}
	return from, to, err
}

// quick reads or writes without telling Go's scheduler: the descriptors do not block,
// and whoever comes back from a call that it knows of may wait for a processor, so
// that nobody would know when a packet was sent.
func quick(call uintptr, fd int, b []byte) (int, unix.Errno) {
	for {
		n, _, errno := unix.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		if errno != unix.EINTR {
			return int(n), errno
		}
	}
}

// collect reads what came out since packets were sent, whose numbers count from first.
func (r *Rig) collect(all []sent, first uint64) error {
	found := func(number uint64, is func(*Outcome)) {
		stray := number < first || number-first >= uint64(len(all))
		if stray {
			number = first
		}
		s := &all[number-first]
		if s.found++; stray || s.found > 1 {
			s.outcome.Wrong = "more than one packet or drop came of it, or one that nobody had sent"
		}
		is(&s.outcome)
	}
	if err := r.read(r.lan, true, found); err != nil {
		return err
	}
	if err := r.read(r.wan, false, found); err != nil {
		return err
	}
	for {
		n, errno := quick(unix.SYS_READ, r.drops, r.buffer)
		if errno == unix.EAGAIN {
			return nil
		}
		if errno != 0 {
			return fmt.Errorf("read from the netfilter log: %w", errno)
		}
		droplog.Decode(r.buffer[:n], time.Time{}, func(m droplog.Message) {
			number := uint64(0)
			if len(m.Data) >= mark {
				number = binary.BigEndian.Uint64(m.Data[len(m.Data)-mark:])
			}
			found(number, func(o *Outcome) { o.Cause, o.Rule = ruleset.Cause(m.Cause), m.Rule })
		})
	}
}

// read reads the packets that came out of a device.
func (r *Rig) read(fd int, inside bool, found func(uint64, func(*Outcome))) error {
	for {
		n, errno := quick(unix.SYS_READ, fd, r.buffer)
		if errno == unix.EAGAIN {
			return nil
		}
		if errno != 0 {
			return fmt.Errorf("read from the TUN device: %w", errno)
		}
		d, err := decode(r.buffer[:n])
		found(d.number, func(o *Outcome) {
			if err != nil {
				o.Wrong = fmt.Sprintf("a packet came out that is wrong: %v: %x", err, r.buffer[:n])
			}
			if o.Refused = d.refusal; !d.refusal {
				o.Passed, o.Inside, o.Packet = true, inside, d.packet
			}
		})
	}
}

// mappings are the live ones.
func (r *Rig) mappings() ([]ruleset.Mapping, error) { return ruleset.Mappings(r.conn) }

// Pairing is which external address the rules give an inside host, where pooling is
// paired. It is measured.
func (r *Rig) Pairing() (func(inside netip.Addr, n int) int, error) {
	type key struct {
		inside netip.Addr
		n      int
	}
	pairs := make(map[key]int)
	for n := 1; n <= MaxExternal; n++ {
		if err := r.Install(nat.Behavior{}, ExternalAddrs(n)); err != nil {
			return nil, err
		}
		for i := range byte(nodes) {
			s := Step{Do: Out, From: Endpoint{Node: firstHost + i, Port: 40000}, To: Endpoint{Node: firstOutside, Port: 3478}}
			one := []sent{{step: s, packet: (&Judge{}).Packet(s)}}
			if _, _, err := r.send(one); err != nil {
				return nil, err
			}
			at, o := -1, one[0].outcome
			for k, a := range ExternalAddrs(n) {
				if o.Passed && o.Packet.Src.Addr() == a {
					at = k
				}
			}
			if at < 0 {
				return nil, fmt.Errorf("pairing of %c with one of %d addresses: its packet %v", s.From.Node, n, o)
			}
			pairs[key{HostAddr(firstHost + i), n}] = at
		}
	}
	return func(inside netip.Addr, n int) int { return pairs[key{inside, n}] }, nil
}
