package kernelpath

import (
	"encoding/binary"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// Verdicts of a program at tcx, and its return values.
const (
	next = -1 // whoever comes after it decides
	shot = 2
)

// Offsets in struct __sk_buff (linux/bpf.h).
const (
	skbLen      = 0
	skbPktType  = 4
	skbMark     = 8
	skbVLAN     = 20
	skbPriority = 32
	skbIfindex  = 40
	skbData     = 76
	skbDataEnd  = 80
	skbGSOSize  = 176
)

// Where things are in a frame whose IPv4 header has no options.
const (
	atType       = 12
	atIP         = 14
	atLength     = atIP + 2
	atFragment   = atIP + 6
	atProtocol   = atIP + 9
	atSource     = atIP + 12
	atUDP        = atIP + 20
	atUDPLength  = atUDP + 4
	atUDPCheck   = atUDP + 6
	atPayload    = atUDP + 8
	atData       = atPayload + 4 // behind a channel's header
	atInner      = atUDP + 8     // what an ICMP error quotes
	endOfInner   = atInner + 20
	headersSize  = 28 // of IPv4 and UDP
	storedHeader = 26 // of these, up to the checksum of UDP
)

// Places on the program's stack.
const (
	onKey     = -16 // flowKey
	onFrom    = -40 // six words of which the checksum changes: addresses, length; ports, length, channel's header
	onTo      = -64 // what they become
	onHeader  = -96 // of IPv4 and UDP
	onIndex   = -104
	onScratch = -112 // pointer to where the payload is kept
	onCame    = -120 // 1: to the listening address
	onLength  = -128 // of the frame that leaves
	onStart   = -136 // of the payload as it came
	onPad     = -144
	onHop     = -168
)

// Flags of helpers (linux/bpf.h).
const (
	recomputeChecksum = 1
	pseudoHeader      = 0x10
	mangledZero       = 0x20
)

// network is a number as a program reads its two bytes, in the network's order, from
// memory.
func network(v uint16) int32 {
	b := port(v)
	return int32(binary.NativeEndian.Uint16(b[:]))
}

// program assembles the program. In it, R6 is the datagram, R7 its flow, R8 the path it leaves
// by, R9 its payload's size.
func program(m *maps) *ebpf.ProgramSpec {
	var p asm.Instructions
	for _, part := range []asm.Instructions{parse(m), lookUp(m), rewrite(m), leave(m), narrow(m)} {
		p = append(p, part...)
	}
	p = append(p,
		asm.Mov.Imm(asm.R0, next).WithSymbol("up"), asm.Return(),
		asm.Mov.Imm(asm.R0, shot).WithSymbol("lose"), asm.Return(),
	)
	return &ebpf.ProgramSpec{Name: "relay", Type: ebpf.SchedCLS, AttachType: ebpf.AttachTCXIngress, License: "GPL", Instructions: p}
}

// parse takes what is one datagram of UDP in IPv4 as its socket would get it.
func parse(m *maps) asm.Instructions {
	p := asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadMem(asm.R2, asm.R6, skbGSOSize, asm.Word),
		asm.JNE.Imm(asm.R2, 0, "up"),
		asm.LoadMem(asm.R2, asm.R6, skbPktType, asm.Word),
		asm.JNE.Imm(asm.R2, 0, "up"), // to another host
		asm.LoadMem(asm.R2, asm.R6, skbVLAN, asm.Word),
		asm.JNE.Imm(asm.R2, 0, "up"),
		asm.LoadMem(asm.R2, asm.R6, skbData, asm.Word),
		asm.LoadMem(asm.R3, asm.R6, skbDataEnd, asm.Word),
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, atPayload),
		asm.JGT.Reg(asm.R4, asm.R3, "up"),
		asm.LoadMem(asm.R4, asm.R2, atType, asm.Half),
		asm.JNE.Imm(asm.R4, network(0x0800), "up"),
		asm.LoadMem(asm.R4, asm.R2, atIP, asm.Byte),
		asm.JNE.Imm(asm.R4, 0x45, "up"),
		asm.LoadMem(asm.R4, asm.R2, atFragment, asm.Half),
		asm.And.Imm(asm.R4, network(0x3fff)),
		asm.JNE.Imm(asm.R4, 0, "up"),
		asm.LoadMem(asm.R4, asm.R2, atProtocol, asm.Byte),
		asm.JEq.Imm(asm.R4, 1, "icmp"),
		asm.JNE.Imm(asm.R4, 17, "up"),
	}
	p = append(p, sum(asm.R2, atIP, asm.R4, asm.R5)...)
	p = append(p,
		asm.JNE.Imm(asm.R4, 0xffff, "up"),
		// The lengths of IP and UDP are one, and there.
		asm.LoadMem(asm.R4, asm.R2, atLength, asm.Half),
		asm.HostTo(asm.BE, asm.R4, asm.Half),
		asm.LoadMem(asm.R9, asm.R2, atUDPLength, asm.Half),
		asm.HostTo(asm.BE, asm.R9, asm.Half),
		asm.JLT.Imm(asm.R9, 8, "up"),
		asm.Mov.Reg(asm.R5, asm.R9),
		asm.Add.Imm(asm.R5, 20),
		asm.JNE.Reg(asm.R4, asm.R5, "up"),
		asm.Add.Imm(asm.R5, atIP),
		asm.LoadMem(asm.R4, asm.R6, skbLen, asm.Word),
		asm.JLT.Reg(asm.R4, asm.R5, "up"),
		asm.LoadMem(asm.R4, asm.R2, atUDPCheck, asm.Half),
		asm.JEq.Imm(asm.R4, 0, "up"),
	)
	for i := int16(0); i < 3; i++ { // addresses and ports
		p = append(p,
			asm.LoadMem(asm.R4, asm.R2, atSource+4*i, asm.Word),
			asm.StoreMem(asm.RFP, onKey+4*i, asm.R4, asm.Word),
			asm.StoreMem(asm.RFP, onFrom+[]int16{0, 4, 12}[i], asm.R4, asm.Word),
		)
	}
	p = append(p,
		asm.LoadMem(asm.R4, asm.R2, atUDPLength, asm.Half), // and two bytes of 0
		asm.StoreMem(asm.RFP, onFrom+8, asm.R4, asm.Word),
		asm.StoreMem(asm.RFP, onFrom+16, asm.R4, asm.Word),
		asm.Mov.Imm(asm.R4, 0),
		asm.StoreMem(asm.RFP, onKey+12, asm.R4, asm.Word),
		asm.StoreMem(asm.RFP, onFrom+20, asm.R4, asm.Word),
		asm.StoreMem(asm.RFP, onCame, asm.R4, asm.DWord),
		asm.Mov.Imm(asm.R4, atPayload),
		asm.StoreMem(asm.RFP, onStart, asm.R4, asm.DWord),
		asm.Add.Imm(asm.R9, -8),
		// Has it come to where clients come to?
		asm.LoadMapValue(asm.R4, m.settings.FD(), 0),
		asm.LoadMem(asm.R5, asm.R4, settingsListen, asm.Word),
		asm.LoadMem(asm.R1, asm.RFP, onKey+4, asm.Word),
		asm.JNE.Reg(asm.R5, asm.R1, "look up"),
		asm.LoadMem(asm.R5, asm.R4, settingsPort, asm.Half),
		asm.LoadMem(asm.R1, asm.RFP, onKey+10, asm.Half),
		asm.JNE.Reg(asm.R5, asm.R1, "look up"),
		asm.JLT.Imm(asm.R9, 4, "up"),
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, atData),
		asm.JGT.Reg(asm.R4, asm.R3, "up"),
		asm.LoadMem(asm.R4, asm.R2, atPayload, asm.Byte),
		asm.And.Imm(asm.R4, 0xc0),
		asm.JNE.Imm(asm.R4, 0x40, "up"), // STUN
		asm.LoadMem(asm.R4, asm.R2, atPayload, asm.Half),
		asm.StoreMem(asm.RFP, onKey+12, asm.R4, asm.Half),
		asm.StoreMem(asm.RFP, onFrom+20, asm.R4, asm.Half),
		asm.LoadMem(asm.R4, asm.R2, atPayload+2, asm.Half),
		asm.StoreMem(asm.RFP, onFrom+22, asm.R4, asm.Half),
		asm.HostTo(asm.BE, asm.R4, asm.Half),
		asm.Mov.Imm(asm.R1, 1),
		asm.StoreMem(asm.RFP, onCame, asm.R1, asm.DWord),
		asm.Mov.Imm(asm.R1, atData),
		asm.StoreMem(asm.RFP, onStart, asm.R1, asm.DWord),
		// What is behind the data may be anything; padding is 0 to 3 bytes, and zeros,
		// which change no checksum.
		asm.Add.Imm(asm.R9, -4),
		asm.JGT.Reg(asm.R4, asm.R9, "up"),
		asm.Sub.Reg(asm.R9, asm.R4),
		asm.JGT.Imm(asm.R9, 3, "up"),
		asm.Mov.Reg(asm.R5, asm.R9),
		asm.Mov.Reg(asm.R9, asm.R4),
		asm.JEq.Imm(asm.R5, 0, "look up"),
		asm.Mov.Imm(asm.R1, 0),
		asm.StoreMem(asm.RFP, onPad, asm.R1, asm.DWord),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Reg(asm.R2, asm.R9),
		asm.Add.Imm(asm.R2, atData),
		asm.Mov.Reg(asm.R3, asm.RFP),
		asm.Add.Imm(asm.R3, onPad),
		asm.Mov.Reg(asm.R4, asm.R5),
		asm.FnSkbLoadBytes.Call(),
		asm.JNE.Imm(asm.R0, 0, "up"),
		asm.LoadMem(asm.R1, asm.RFP, onPad, asm.DWord),
		asm.JNE.Imm(asm.R1, 0, "up"),
	)
	return p
}

// sum is the ones' complement sum of the twenty bytes from an offset on, in sixteen bits.
func sum(base asm.Register, offset int16, to, spare asm.Register) asm.Instructions {
	p := asm.Instructions{asm.Mov.Imm(to, 0)}
	for i := int16(0); i < 20; i += 4 {
		p = append(p, asm.LoadMem(spare, base, offset+i, asm.Word), asm.Add.Reg(to, spare))
	}
	p = append(p, asm.Mov.Reg(spare, to), asm.RSh.Imm(spare, 32), asm.Mov.Reg32(to, to), asm.Add.Reg(to, spare))
	for range 3 {
		p = append(p, asm.Mov.Reg(spare, to), asm.RSh.Imm(spare, 16), asm.And.Imm(to, 0xffff), asm.Add.Reg(to, spare))
	}
	return p
}

// find looks up an element by a key on the stack; R0 is it.
func find(in *ebpf.Map, key int16) asm.Instructions {
	return asm.Instructions{
		asm.LoadMapPtr(asm.R1, in.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, int32(key)),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "up"),
	}
}

// live goes on with a flow that has not expired.
func live() asm.Instructions {
	return asm.Instructions{
		asm.Mov.Reg(asm.R7, asm.R0),
		asm.FnKtimeGetCoarseNs.Call(),
		asm.LoadMem(asm.R1, asm.R7, flowExpires, asm.DWord),
		asm.JGE.Reg(asm.R0, asm.R1, "up"),
	}
}

// path finds the path that a flow names at an offset.
func path(m *maps, offset int16) asm.Instructions {
	return append(asm.Instructions{
		asm.LoadMem(asm.R1, asm.R7, offset, asm.Word),
		asm.StoreMem(asm.RFP, onIndex, asm.R1, asm.Word),
	}, find(m.paths, onIndex)...)
}

// lookUp finds the flow and the path, and whether the datagram fits it.
func lookUp(m *maps) asm.Instructions {
	p := find(m.flows, onKey)
	p[0] = p[0].WithSymbol("look up")
	p = append(p, live()...)
	p = append(p, path(m, flowFrom)...)
	p = append(p,
		asm.LoadMem(asm.R1, asm.R0, pathInterface, asm.Word),
		asm.LoadMem(asm.R2, asm.R6, skbIfindex, asm.Word),
		asm.JNE.Reg(asm.R1, asm.R2, "up"),
		asm.LoadMem(asm.R1, asm.R7, flowRelay, asm.Half),
		asm.JEq.Imm(asm.R1, 0, "found"),
	)
	for i := int16(0); i < 3; i++ {
		p = append(p,
			asm.LoadMem(asm.R1, asm.R7, flowSource+4*i, asm.Word),
			asm.StoreMem(asm.RFP, onKey+4*i, asm.R1, asm.Word),
		)
	}
	p = append(p, asm.Mov.Imm(asm.R1, 0), asm.StoreMem(asm.RFP, onKey+12, asm.R1, asm.Word))
	p = append(p, find(m.flows, onKey)...)
	p = append(p, live()...)
	found := path(m, flowTo)
	found[0] = found[0].WithSymbol("found")
	p = append(p, found...)
	return append(p,
		asm.Mov.Reg(asm.R8, asm.R0),
		// The size of what leaves.
		asm.Mov.Reg(asm.R2, asm.R9),
		asm.Add.Imm(asm.R2, headersSize),
		asm.LoadMem(asm.R1, asm.R7, flowNumber, asm.Half),
		asm.JEq.Imm(asm.R1, 0, "sized"),
		asm.Add.Imm(asm.R2, 4),
		asm.LoadMem(asm.R1, asm.R8, pathMTU, asm.Word).WithSymbol("sized"),
		asm.JGT.Reg(asm.R2, asm.R1, "up"),
		asm.StoreMem(asm.RFP, onLength, asm.R2, asm.DWord),
		asm.JGT.Imm(asm.R9, maxMoved, "up"),
	)
}
