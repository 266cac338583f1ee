//go:build linux

package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"p2pmodel/sim"
	"p2pmodel/sim/kernel/capture"
	"p2pmodel/sim/kernel/scan"
	"p2pmodel/sim/witness"
	"p2pmodel/sim/witness/pcapng"
)

// startCapture listens on the uplinks of all hosts and on both sides of all
// routers.
func (n *Network) startCapture(ctx context.Context) error {
	recorder, err := capture.New(0)
	if err != nil {
		return err
	}
	n.recorder = recorder
	if n.opt.Unrecorded {
		return nil
	}
	filter := evidence(n.opt.Connections, false)
	var listened []*node
	for _, r := range n.lab.Routers {
		listened = append(listened, n.nodes[r.Name])
	}
	for _, h := range n.lab.Hosts {
		listened = append(listened, n.nodes[h.Name])
	}
	return each(ctx, len(listened), func(i int) error {
		node := listened[i]
		for _, iface := range node.ifaces {
			if err := node.listen(recorder, iface, filter); err != nil {
				return err
			}
		}
		return nil
	})
}

// listen records what passes an interface of the node and a filter.
func (n *node) listen(recorder *capture.Recorder, at *iface, filter *unix.SockFprog) error {
	var fd int
	err := n.ns.inside(func() (err error) {
		if fd, err = capture.Open(at.index); err != nil {
			return err
		}
		if err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, filter); err != nil {
			_ = unix.Close(fd)
		}
		return err
	})
	if err == nil {
		err = recorder.Add(at.point, fd)
	}
	if err != nil {
		return fmt.Errorf("node %s: capture at %s: %w%s", n.name, at.name, err, hintFor(err))
	}
	return nil
}

// evidence is the filter of captures. It leaves out what arrives without being
// meant for the interface, which is how we lose packets on a wire (egress), and
// the probes of certifications; and on demand the streams of TCP connections, and
// the probes of scans.
func evidence(connections, scanned bool) *unix.SockFprog {
	const (
		drop, keep     = 0, 0x7fffffff
		ethernet       = 14
		etherType      = 12
		protocolOffset = 9
		flagsOffset    = 13                 // in a TCP header
		openOrEnd      = 1<<0 | 1<<1 | 1<<2 // FIN, SYN, RST
	)
	var streams []bpf.Instruction
	if connections {
		streams = []bpf.Instruction{
			bpf.LoadAbsolute{Off: ethernet + protocolOffset, Size: 1},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_TCP, SkipFalse: 4},
			bpf.LoadMemShift{Off: ethernet},
			bpf.LoadIndirect{Off: ethernet + flagsOffset, Size: 1},
			bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: openOrEnd, SkipTrue: 1},
			bpf.RetConstant{Val: drop},
		}
	}
	prefix := sim.ProbePrefix.Addr().As4()
	probe := binary.BigEndian.Uint32(prefix[:])
	mask := ^uint32(0) << (32 - sim.ProbePrefix.Bits())
	program := []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.PACKET_OTHERHOST, SkipTrue: 8},
		bpf.LoadAbsolute{Off: etherType, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_IP, SkipFalse: uint8(7 + len(streams))},
		bpf.LoadAbsolute{Off: ethernet + sourceOffset, Size: 4},
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: mask},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: probe, SkipTrue: 3},
		bpf.LoadAbsolute{Off: ethernet + destinationOffset, Size: 4},
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: mask},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: probe, SkipFalse: 1},
		bpf.RetConstant{Val: drop},
	}
	program = append(append(program, streams...), bpf.RetConstant{Val: keep})
	if scanned {
		program = scan.Except(program)
	}
	return scan.MustAssemble(program)
}

// Packets implements sim.Network. Certifications leave no packets, and packets
// that were lost on a wire are seen where they left only.
func (n *Network) Packets() []witness.Packet { return n.recorder.Packets() }

// Err tells of faults of the laboratory itself so far: packets that the captures
// or wires could not keep up with. A verdict does not stand on such a run.
func (n *Network) Err() error {
	return errors.Join(n.recorder.Dropped().Err(), n.wireFaults(), n.lateness())
}

// stopCapture ends the captures and writes them if that was asked for. Their sockets
// are still open.
func (n *Network) stopCapture() error {
	if n.recorder == nil {
		return nil
	}
	points := n.recorder.Points()
	if err := n.recorder.End(); err != nil {
		return err
	}
	if n.opt.Capture != nil {
		if err := pcapng.Write(n.opt.Capture, n.recorder.Packets(), points); err != nil {
			return fmt.Errorf("write the capture: %w", err)
		}
	}
	return n.recorder.Dropped().Err()
}

func (n *Network) closeCapture() error {
	if n.recorder == nil {
		return nil
	}
	return n.recorder.Close()
}
