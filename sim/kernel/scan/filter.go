//go:build linux

package scan

import (
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Where things stand in a frame, given that the IPv4 header has no options.
const (
	ethernet   = 14
	etherType  = 12
	serviceAt  = ethernet + 1
	protocolAt = ethernet + 9
	quotedMark = ethernet + ipHeader + 8 + 1
)

// snap is how much of a frame the sockets of a scan see: enough to know a probe
// again, quoted in an error or not.
const snap = ethernet + 128

// Probes keeps probes that arrive at an interface and are meant for it.
var Probes = MustAssemble([]bpf.Instruction{
	bpf.LoadExtension{Num: bpf.ExtType},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.PACKET_HOST, SkipFalse: 5},
	bpf.LoadAbsolute{Off: etherType, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_IP, SkipFalse: 3},
	bpf.LoadAbsolute{Off: serviceAt, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: Mark, SkipFalse: 1},
	bpf.RetConstant{Val: snap},
	bpf.RetConstant{Val: 0},
})

// Arrivals keeps all IPv4 packets that arrive at an interface and are meant for
// it: answers are among them.
var Arrivals = MustAssemble([]bpf.Instruction{
	bpf.LoadExtension{Num: bpf.ExtType},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.PACKET_HOST, SkipFalse: 3},
	bpf.LoadAbsolute{Off: etherType, Size: 2},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_IP, SkipFalse: 1},
	bpf.RetConstant{Val: snap},
	bpf.RetConstant{Val: 0},
})

// Except gives a filter that leaves out probes, resets for them and errors about
// them, and else does what the instructions do.
func Except(instructions []bpf.Instruction) []bpf.Instruction {
	return append([]bpf.Instruction{
		bpf.LoadAbsolute{Off: etherType, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_IP, SkipFalse: 7},
		bpf.LoadAbsolute{Off: serviceAt, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: Mark, SkipTrue: 4},
		bpf.LoadAbsolute{Off: protocolAt, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_ICMP, SkipFalse: 3},
		bpf.LoadAbsolute{Off: quotedMark, Size: 1}, // too short a frame is left out as well
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: Mark, SkipFalse: 1},
		bpf.RetConstant{Val: 0},
	}, instructions...)
}

// MustAssemble makes a socket filter of instructions that are right.
func MustAssemble(instructions []bpf.Instruction) *unix.SockFprog {
	raw, err := bpf.Assemble(instructions)
	if err != nil {
		panic("scan: the filter of packets: " + err.Error())
	}
	filters := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		filters[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	return &unix.SockFprog{Len: uint16(len(filters)), Filter: &filters[0]}
}
