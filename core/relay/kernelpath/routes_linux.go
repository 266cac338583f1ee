package kernelpath

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// routes are the paths that flows take, as the kernel's tables say, and the interfaces that the
// program is at: those that a path leaves by, since what comes by another is not taken.
type routes struct {
	maps    *maps
	program *ebpf.Program
	handle  *netlink.Handle
	network netns.NsHandle // that indices of interfaces are of
	log     *slog.Logger
	ttl     uint32
	uid     uint32

	lock     sync.Mutex
	paths    map[remoteKey]*route
	free     []uint32 // indices that were given back
	next     uint32
	attached map[int]attachment
	said     map[int]bool // of which interfaces it was said why they have no program
}

// route is a path that is in use.
type route struct {
	index uint32
	users int
}

// attachment is an interface that the program is at.
type attachment struct {
	link link.Link // nil: it cannot be there
	mtu  int
}

func newRoutes(m *maps, p *ebpf.Program, ttl uint32, log *slog.Logger) (*routes, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("ask for routes: %w", err)
	}
	r := &routes{
		maps: m, program: p, handle: h, network: netns.None(), log: log, ttl: ttl, uid: uint32(os.Geteuid()),
		paths: make(map[remoteKey]*route), attached: make(map[int]attachment), said: make(map[int]bool),
	}
	lo, err := h.LinkByName("lo")
	if err == nil {
		r.network, err = netns.Get()
	}
	if err == nil {
		// Whether a program may be attached at all is seen before anybody relies on it.
		var l link.Link
		if l, err = attach(p, lo.Attrs().Index); err == nil {
			err = l.Close()
		}
	}
	if err != nil {
		r.close()
		return nil, fmt.Errorf("attach the program to an interface: %w", err)
	}
	return r, nil
}

// attach has the program see what comes by an interface, until the link is closed.
func attach(p *ebpf.Program, index int) (link.Link, error) {
	return link.AttachTCX(link.TCXOptions{Interface: index, Program: p, Attach: ebpf.AttachTCXIngress})
}

// detached reports whether the interface of a link is gone.
func detached(l link.Link) bool {
	info, err := l.Info()
	return err == nil && info.TCX() != nil && info.TCX().Ifindex == 0
}

func (r *routes) close() {
	if r == nil {
		return
	}
	for _, a := range r.attached {
		if a.link != nil {
			_ = a.link.Close()
		}
	}
	r.handle.Close()
	if r.network.IsOpen() {
		_ = r.network.Close()
	}
}

// attach has the program see what comes by an interface of the network that the paths are of: the
// kernel takes an index for one of the calling thread's.
func (r *routes) attach(index int) (l link.Link, err error) {
	runtime.LockOSThread()
	here, err := netns.Get()
	if err == nil {
		same := here.Equal(r.network)
		_ = here.Close()
		if same {
			defer runtime.UnlockOSThread()
			return attach(r.program, index)
		}
	}
	runtime.UnlockOSThread()
	var there sync.WaitGroup
	there.Go(func() {
		runtime.LockOSThread() // and the thread ends with this
		if err = netns.Set(r.network); err == nil {
			l, err = attach(r.program, index)
		}
	})
	there.Wait()
	return l, err
}

// take has a path be there until give is called as often. Where there is none, or no room for
// it, it is path 0, by which nothing goes.
func (r *routes) take(k remoteKey) {
	r.lock.Lock()
	defer r.lock.Unlock()
	if p := r.paths[k]; p != nil {
		p.users++
		return
	}
	p := &route{users: 1}
	switch {
	case len(r.free) > 0:
		p.index, r.free = r.free[len(r.free)-1], r.free[:len(r.free)-1]
	case r.next < maxPaths-1:
		r.next++
		p.index = r.next
	}
	r.paths[k] = p
	if p.index != 0 && r.maps.remotes.Put(&k, p.index) == nil {
		r.resolve(k, p)
	}
}

// give is take's inverse.
func (r *routes) give(k remoteKey) {
	r.lock.Lock()
	defer r.lock.Unlock()
	p := r.paths[k]
	if p.users--; p.users > 0 {
		return
	}
	delete(r.paths, k)
	if p.index != 0 {
		// What is not there is gone as it should.
		_ = r.maps.remotes.Delete(&k)
		_ = r.maps.paths.Put(p.index, &pathValue{})
		r.free = append(r.free, p.index)
	}
}

// index is where a path is in the kernel's table.
func (r *routes) index(k remoteKey) uint32 {
	r.lock.Lock()
	defer r.lock.Unlock()
	return r.paths[k].index
}

// resolve writes what the kernel's tables say of a path now.
func (r *routes) resolve(k remoteKey, p *route) {
	v, err := r.ask(k)
	if err != nil {
		v = pathValue{} // sockets will be told why
	}
	_ = r.maps.paths.Put(p.index, &v) // the index is one of the array's
}

func (r *routes) ask(k remoteKey) (v pathValue, err error) {
	found, err := r.handle.RouteGetWithOptions(net.IP(k.Remote[:]), &netlink.RouteGetOptions{SrcAddr: net.IP(k.Local[:]), UID: &r.uid})
	if err != nil {
		return v, err
	}
	if len(found) != 1 {
		return v, fmt.Errorf("%d routes", len(found))
	}
	way := found[0]
	if way.Type != unix.RTN_UNICAST && way.Type != unix.RTN_LOCAL || way.MTULock || way.Encap != nil || way.Via != nil {
		return v, fmt.Errorf("route %v is none that datagrams take as they are", way)
	}
	a := r.at(way.LinkIndex)
	if a.link == nil {
		return v, fmt.Errorf("interface %d has no program", way.LinkIndex)
	}
	v = pathValue{Interface: uint32(way.LinkIndex), MTU: uint32(a.mtu), TTL: r.ttl}
	if way.MTU > 0 && way.MTU < a.mtu {
		v.MTU = uint32(way.MTU)
	}
	if way.Hoplimit > 0 {
		v.TTL = uint32(way.Hoplimit)
	}
	if way.Type == unix.RTN_UNICAST {
		v.NextHop = k.Remote
		if gateway := way.Gw.To4(); gateway != nil {
			v.NextHop = [4]byte(gateway)
		}
	}
	return v, nil
}

// at has the program be at an interface. Frames are Ethernet's, as those of the loopback are.
func (r *routes) at(index int) attachment {
	if a, known := r.attached[index]; known {
		return a
	}
	var a attachment
	l, err := r.handle.LinkByIndex(index)
	if err == nil {
		a.mtu = l.Attrs().MTU
		if kind := l.Attrs().EncapType; kind == "ether" || kind == "loopback" {
			a.link, err = r.attach(index)
		} else {
			err = fmt.Errorf("its frames are of kind %s, not Ethernet's", kind)
		}
	}
	if err != nil {
		a.link = nil
		if !r.said[index] {
			r.said[index] = true
			r.log.Info("the relay's sockets pass on what comes or goes by an interface", "index", index, "reason", err)
		}
	}
	r.attached[index] = a
	return a
}

// refresh resolves paths anew: all of them, after the tables have changed, or those that
// turned out to be narrower.
func (r *routes) refresh(all bool) {
	r.lock.Lock()
	defer r.lock.Unlock()
	if all {
		for index, a := range r.attached {
			l, err := r.handle.LinkByIndex(index)
			switch {
			case a.link == nil:
				delete(r.attached, index)
			case err != nil || detached(a.link): // the interface is gone, or has come again
				_ = a.link.Close()
				delete(r.attached, index)
			default:
				a.mtu = l.Attrs().MTU
				r.attached[index] = a
			}
		}
	}
	for k, p := range r.paths {
		var v pathValue
		if p.index != 0 && (all || r.maps.paths.Lookup(p.index, &v) == nil && v.MTU == 0) {
			r.resolve(k, p)
		}
	}
}
