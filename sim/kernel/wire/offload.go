//go:build linux

package wire

import (
	"fmt"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Offload switches the checksum and segmentation offload of an interface: the
// end of a link inside a node's namespace. A wire needs it because the kernel
// decides there, when a packet leaves the node, whether to send a segment of 64
// KiB as one or as packets of the link's MTU.
type Offload struct {
	mu   sync.Mutex
	fd   int
	name [unix.IFNAMSIZ]byte
}

// OpenOffload opens the switch of an interface of the calling thread's network
// namespace; it works from any thread afterwards. Close it, or hand it to a
// Scheduler, which does.
func OpenOffload(name string) (*Offload, error) {
	if len(name) == 0 || len(name) >= unix.IFNAMSIZ {
		return nil, fmt.Errorf("offload of %q: not a name of an interface", name)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("offload of %s: %w", name, err)
	}
	o := &Offload{fd: fd}
	copy(o.name[:], name)
	return o, nil
}

// Set turns the offload of what the interface sends on or off. Without transmit
// checksums the kernel drops scatter-gather, and with it TCP and UDP
// segmentation and generic segmentation (netdev_fix_features): every packet then
// leaves whole, within the MTU, its checksum done. With checksums on again, the
// rest comes back, for it is still wanted.
func (o *Offload) Set(on bool) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	value := struct{ command, data uint32 }{command: unix.ETHTOOL_STXCSUM}
	if on {
		value.data = 1
	}
	request := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte // struct ifreq is larger than the part used
	}{name: o.name, data: unsafe.Pointer(&value)}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(o.fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); errno != 0 {
		return fmt.Errorf("interface %s: switch transmit checksums: %w", unix.ByteSliceToString(o.name[:]), errno)
	}
	return nil
}

// Close gives up the switch and leaves the interface as it is.
func (o *Offload) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.fd < 0 {
		return nil
	}
	fd := o.fd
	o.fd = -1
	return unix.Close(fd)
}
