package sansio

import (
	"errors"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// OffloadVariable is the environment variable that switches off what the kernel does with many
// datagrams as one: "off", or "gso" (UDP_SEGMENT, Linux 4.18) or "gro" (UDP_GRO, 5.0)
// alone, or "kernel", what the kernel passes on without a socket (KernelPathOff). Without
// it what the kernel offers is used.
const OffloadVariable = "P2PMODEL_OFFLOAD_OFF"

// offloads are what may be used.
type offloads struct{ segment, coalesce, kernel bool }

// offload reads the variable, once.
var offload = sync.OnceValue(func() offloads { return readOffload(os.Getenv(OffloadVariable)) })

func readOffload(off string) offloads {
	o := offloads{true, true, true}
	for word := range strings.SplitSeq(off, ",") {
		switch strings.TrimSpace(word) {
		case "gso":
			o.segment = false
		case "gro":
			o.coalesce = false
		case "kernel":
			o.kernel = false
		case "":
		default:
			o = offloads{}
		}
	}
	return o
}

// KernelPathOff reports whether the variable switches off that the kernel passes datagrams on
// by itself, for those who have it do that.
func KernelPathOff() bool { return !offload().kernel }

// maxSegment is the largest size of datagrams that are tried as one message: what an
// Ethernet carries over IPv4. Longer ones are fragmented, which the kernel does one by one.
const maxSegment = 1472

// coalesce lets the kernel give several datagrams as one.
func (io *kernelIO) coalesce() {
	if offload().coalesce {
		control(io.raw, func(fd int) { io.coalesced = unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1) == nil })
	}
}

// apart learns from a message of several datagrams that could not be sent, and says
// whether they are to be sent as messages of their own. The path may carry only smaller ones
// (EINVAL, EMSGSIZE): then they have to be fragmented. Or the kernel or the interface
// cannot do it at all (EIO, EOPNOTSUPP, ENOPROTOOPT).
func (io *kernelIO) apart(o *outgoing, err error) bool {
	if o.end-o.start <= o.segment || o.segment > io.segments {
		return false
	}
	switch {
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EMSGSIZE):
		io.segments = o.segment - 1
	case errors.Is(err, unix.EIO), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOPROTOOPT):
		io.segments = 0
	default:
		return false
	}
	return true
}
