//go:build linux

package ruleset

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

func text(kind uint16, s string) netlink.Attribute {
	return netlink.Attribute{Type: kind, Data: append([]byte(s), 0)}
}

func number(kind uint16, n uint32) netlink.Attribute {
	return netlink.Attribute{Type: kind, Data: binaryutil.BigEndian.PutUint32(n)}
}

func long(kind uint16, n uint64) netlink.Attribute {
	return netlink.Attribute{Type: kind, Data: binaryutil.BigEndian.PutUint64(n)}
}

// answerTimeout bounds the wait for the kernel's answer, which is there when the
// send returns.
const answerTimeout = 10 * time.Second

// send carries out the steps in one transaction, in the namespace of the
// descriptor (0: the thread's own). Errors name the steps that they are about.
func send(namespace int, family nftables.TableFamily, steps []step) error {
	fd, err := dial(namespace)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, batch(family, steps), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("send %d netlink messages: %w", len(steps), err)
	}
	return answers(fd, steps)
}

// inNamespace runs f on a thread that is in the namespace of the descriptor (0: the
// thread's own). Sockets belong to the namespace that their thread was in, and so
// do the files below /proc/sys/net.
func inNamespace(namespace int, f func() error) error {
	if namespace == 0 {
		return f()
	}
	runtime.LockOSThread()
	home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("open the thread's namespace: %w", err)
	}
	defer unix.Close(home)
	if err := unix.Setns(namespace, unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter the router's namespace: %w", err)
	}
	defer func() {
		// A thread that cannot go home stays locked, and ends with its goroutine.
		if unix.Setns(home, unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
	}()
	return f()
}

// dial opens a netlink socket in a namespace.
func dial(namespace int) (int, error) {
	fd := -1
	err := inNamespace(namespace, func() (err error) {
		if fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER); err != nil {
			return fmt.Errorf("open a netfilter socket: %w", err)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	wait := unix.NsecToTimeval(answerTimeout.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err != nil {
		unix.Close(fd)
		return 0, fmt.Errorf("set the netfilter socket's timeout: %w", err)
	}
	return fd, nil
}

const (
	netlinkHeader   = 16
	netfilterHeader = 4
)

// batch encodes a transaction: a beginning, the steps, an end. The beginning has
// the number 0, the steps those from 1. The last step alone asks for an answer.
func batch(family nftables.TableFamily, steps []step) []byte {
	var b []byte
	message := func(kind, flags uint16, sequence int, family byte, resource uint16, payload []byte) {
		length := netlinkHeader + netfilterHeader + len(payload)
		b = binary.NativeEndian.AppendUint32(b, uint32(length))
		b = binary.NativeEndian.AppendUint16(b, kind)
		b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST|flags)
		b = binary.NativeEndian.AppendUint32(b, uint32(sequence))
		b = binary.NativeEndian.AppendUint32(b, 0)
		b = append(b, family, unix.NFNETLINK_V0)
		b = binary.BigEndian.AppendUint16(b, resource)
		b = append(b, payload...) // of attributes, which are aligned
	}
	message(unix.NFNL_MSG_BATCH_BEGIN, 0, 0, 0, unix.NFNL_SUBSYS_NFTABLES, nil)
	for i, s := range steps {
		flags := s.flags
		if i == len(steps)-1 {
			flags |= unix.NLM_F_ACK
		}
		message(unix.NFNL_SUBSYS_NFTABLES<<8|s.kind, flags, i+1, byte(family), 0, s.payload)
	}
	message(unix.NFNL_MSG_BATCH_END, 0, len(steps)+1, 0, unix.NFNL_SUBSYS_NFTABLES, nil)
	return b
}

// answers reads what the kernel says of the steps, up to its answer to the last.
func answers(fd int, steps []step) error {
	var errs []error
	buf := make([]byte, 1<<17)
	for {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ENOBUFS):
			return errors.Join(append(errs, errors.New("and more errors than the socket could hold"))...)
		case err != nil:
			return errors.Join(append(errs, fmt.Errorf("wait for the kernel's answer: %w", err))...)
		}
		for rest := buf[:n]; len(rest) >= netlinkHeader+4; {
			length := int(binary.NativeEndian.Uint32(rest))
			sequence := int(binary.NativeEndian.Uint32(rest[8:]))
			code := unix.Errno(-int32(binary.NativeEndian.Uint32(rest[netlinkHeader:])))
			switch {
			case binary.NativeEndian.Uint16(rest[4:]) != unix.NLMSG_ERROR:
			case code != 0 && sequence == 0:
				return errors.Join(append(errs, fmt.Errorf("transaction: %w", code))...)
			case code != 0 && sequence <= len(steps):
				errs = append(errs, fmt.Errorf("%s: %w", steps[sequence-1].what, code))
			}
			if sequence == len(steps) {
				return errors.Join(errs...)
			}
			rest = rest[min(max(netlinkHeader, (length+3)&^3), len(rest)):]
		}
	}
}
