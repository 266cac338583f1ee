//go:build linux

package kernel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// A TCP connection outlives the socket of the program: until the other side has
// acknowledged its end, the kernel holds it, and with it the namespace. On a
// link that carries nothing any more that takes some 100 s (tcp_orphan_retries
// in the kernel's ip-sysctl).

// impatient is what the kernel is told where it cannot be told to drop
// connections: to give orphans up after one retransmission. Close takes 0.8 s
// then (measured), and longer if an orphan has retransmitted in vain for long:
// it looks at the setting when its timer runs out, which doubles each time.
var impatient = []setting{{"/proc/sys/net/ipv4/tcp_orphan_retries", "1"}}

// dropConnections makes the kernel forget the TCP connections of the namespace
// of the calling thread, whoever has them or had them.
func dropConnections() error {
	if some, err := anyTCP(); !some || err != nil {
		return err
	}
	if dropsOrphans() && destroy(unix.AF_INET) == nil && destroy(unix.AF_INET6) == nil {
		return nil
	}
	return apply(impatient)
}

// anyTCP says whether the namespace of the calling thread has TCP sockets. It
// saves the search for them, for which the kernel goes through the connections
// of the whole machine.
func anyTCP() (bool, error) {
	for _, file := range []struct{ path, line string }{
		{"/proc/thread-self/net/sockstat", "TCP: inuse "},
		{"/proc/thread-self/net/sockstat6", "TCP6: inuse "},
	} {
		b, err := os.ReadFile(file.path)
		if errors.Is(err, os.ErrNotExist) {
			continue // a kernel without IPv6
		}
		if err != nil {
			return false, fmt.Errorf("count TCP sockets: %w", err)
		}
		if _, rest, ok := bytes.Cut(b, []byte(file.line)); ok && !bytes.HasPrefix(rest, []byte("0")) {
			return true, nil
		}
	}
	return false, nil
}

// dropsOrphans says whether the kernel can be asked to destroy a connection
// that no program has any more. Before Linux 6.12 that could do the contrary:
// the connection lost what it was still to send, and with it the timer that
// would have ended it ("tcp: fix forever orphan socket caused by tcp_abort").
var dropsOrphans = sync.OnceValue(func() bool {
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return false
	}
	return atLeast(unix.ByteSliceToString(name.Release[:]), 6, 12)
})

// atLeast compares a kernel release such as "6.12.3-amd64". What it cannot
// read counts as older.
func atLeast(release string, major, minor int) bool {
	var have [2]int
	for i := range have {
		digits := 0
		for digits < len(release) && release[digits] >= '0' && release[digits] <= '9' {
			digits++
		}
		number, err := strconv.Atoi(release[:digits])
		if err != nil {
			return false
		}
		have[i] = number
		if release = release[digits:]; release != "" {
			release = release[1:]
		}
	}
	return have[0] > major || have[0] == major && have[1] >= minor
}

// diagRequest is struct inet_diag_req_v2 of linux/inet_diag.h.
type diagRequest struct {
	family uint8
	states uint32
	id     [48]byte // struct inet_diag_sockid
}

func (r *diagRequest) Len() int { return 8 + len(r.id) }

func (r *diagRequest) Serialize() []byte {
	b := append(make([]byte, 0, r.Len()), r.family, unix.IPPROTO_TCP, 0, 0)
	b = append(b, nl.Uint32Attr(r.states)...)
	return append(b, r.id[:]...)
}

// States of a connection that can hold its namespace, or will when its socket
// is closed (include/net/tcp_states.h): all but those that know no peer yet,
// and TIME_WAIT, which goes with the namespace.
const connected = 1<<1 | 1<<2 | 1<<4 | 1<<5 | 1<<8 | 1<<9 | 1<<11 // ESTABLISHED SYN_SENT FIN_WAIT1 FIN_WAIT2 CLOSE_WAIT LAST_ACK CLOSING

// destroy ends the TCP connections of a family in the namespace of the calling
// thread, as "ss --kill" does. The kernel must have CONFIG_INET_DIAG_DESTROY.
func destroy(family uint8) error {
	_, err := destroyIf(family, func([]byte) bool { return true })
	return err
}

// What is looked at in struct inet_diag_msg of linux/inet_diag.h.
const (
	diagID     = 4          // struct inet_diag_sockid
	diagSource = diagID + 4 // in it, behind two ports
	diagInode  = 4 + 48 + 16
	diagSize   = diagInode + 4
)

// destroyIf ends those of the connections that are chosen, by struct
// inet_diag_msg, and counts them.
func destroyIf(family uint8, chosen func(message []byte) bool) (ended int, err error) {
	list := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP)
	list.AddData(&diagRequest{family: family, states: connected})
	answers, err := list.Execute(unix.NETLINK_INET_DIAG, 0)
	if err != nil && !errors.Is(err, nl.ErrDumpInterrupted) {
		return 0, fmt.Errorf("list TCP connections: %w", err)
	}
	for _, a := range answers {
		if len(a) < diagSize {
			return ended, fmt.Errorf("list TCP connections: the kernel answered with %d bytes that make no connection", len(a))
		}
		if !chosen(a) {
			continue
		}
		end := &diagRequest{family: family, states: connected}
		copy(end.id[:], a[diagID:])
		req := nl.NewNetlinkRequest(nl.SOCK_DESTROY, unix.NLM_F_ACK)
		req.AddData(end)
		if _, err := req.Execute(unix.NETLINK_INET_DIAG, 0); err != nil && !errors.Is(err, unix.ENOENT) {
			return ended, fmt.Errorf("end a TCP connection: %w", err)
		}
		ended++
	}
	return ended, nil
}

// abandon ends the TCP connections of addresses that the namespace of the calling
// thread has no more, as phones do: whoever has one gets ECONNABORTED, and the
// other side hears nothing. Connections that no program has any more are left
// alone; an older kernel would keep them for ever.
func abandon(gone []netip.Addr) (ended int, err error) {
	some, err := anyTCP()
	if !some || err != nil {
		return 0, err
	}
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} { // sockets of the latter may have IPv4 addresses
		n, err := destroyIf(family, func(message []byte) bool {
			source := netip.AddrFrom4([4]byte(message[diagSource:]))
			if family == unix.AF_INET6 {
				source = netip.AddrFrom16([16]byte(message[diagSource:])).Unmap()
			}
			inode := binary.NativeEndian.Uint32(message[diagInode:])
			return inode != 0 && slices.Contains(gone, source)
		})
		if ended += n; err != nil {
			return ended, err
		}
	}
	return ended, nil
}
