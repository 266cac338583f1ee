package kernelpath

import (
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// rewrite makes of the datagram what the server would send. The kernel may have left its
// checksum to be completed by the interface (CHECKSUM_PARTIAL), relative to where UDP's header
// is now, or may have one of the whole datagram (CHECKSUM_COMPLETE), and tells programs of
// neither: so the headers stay in their place, the payload moves, and every change is
// told to the kernel by the helper that is right in all cases.
func rewrite(m *maps) asm.Instructions {
	p := compose()
	p = append(p,
		// R3 is where the payload goes.
		asm.LoadMem(asm.R2, asm.RFP, onStart, asm.DWord).WithSymbol("composed"),
		asm.Mov.Imm(asm.R3, atPayload),
		asm.LoadMem(asm.R1, asm.R7, flowNumber, asm.Half),
		asm.JEq.Imm(asm.R1, 0, "to peer"),
		asm.Mov.Imm(asm.R3, atData),
		asm.JEq.Reg(asm.R2, asm.R3, "in place").WithSymbol("to peer"),
		asm.Mov.Imm(asm.R1, 0),
		asm.StoreMem(asm.RFP, onIndex, asm.R1, asm.Word),
	)
	p = append(p, find(m.scratch, onIndex)...)
	p = append(p,
		asm.StoreMem(asm.RFP, onScratch, asm.R0, asm.DWord),
		asm.JEq.Imm(asm.R9, 0, "resize"),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.LoadMem(asm.R2, asm.RFP, onStart, asm.DWord),
		asm.Mov.Reg(asm.R3, asm.R0),
		asm.Mov.Reg(asm.R4, asm.R9),
		asm.FnSkbLoadBytes.Call(),
		asm.JNE.Imm(asm.R0, 0, "up"),
	)
	p = append(p, resize("resize")...)
	p = append(p,
		asm.JEq.Imm(asm.R9, 0, "channel"),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Imm(asm.R2, atPayload),
		asm.LoadMem(asm.R3, asm.R7, flowNumber, asm.Half),
		asm.JEq.Imm(asm.R3, 0, "move"),
		asm.Mov.Imm(asm.R2, atData),
		asm.LoadMem(asm.R3, asm.RFP, onScratch, asm.DWord).WithSymbol("move"),
		asm.Mov.Reg(asm.R4, asm.R9),
		asm.Mov.Imm(asm.R5, recomputeChecksum),
		asm.FnSkbStoreBytes.Call(),
		asm.JNE.Imm(asm.R0, 0, "lose"),
		asm.Ja.Label("channel"),
	)
	p = append(p, resize("in place")...)
	p = append(p,
		asm.LoadMem(asm.R1, asm.R7, flowNumber, asm.Half).WithSymbol("channel"),
		asm.JEq.Imm(asm.R1, 0, "checksums"),
	)
	p = append(p, store(atPayload, onTo+20, 4, recomputeChecksum)...)
	p = append(p,
		// Of a whole datagram's checksum the channel's header was told above, of UDP's it is
		// below: once is enough.
		asm.LoadMem(asm.R2, asm.RFP, onTo+20, asm.Word).WithSymbol("checksums"),
		asm.Xor.Imm(asm.R2, -1),
		asm.Mov.Reg32(asm.R2, asm.R2),
		asm.LoadMem(asm.R3, asm.RFP, onFrom+20, asm.Word),
		asm.Add.Reg(asm.R2, asm.R3),
		asm.Mov.Reg(asm.R3, asm.R2),
		asm.RSh.Imm(asm.R3, 32),
		asm.Mov.Reg32(asm.R2, asm.R2),
		asm.Add.Reg(asm.R2, asm.R3),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.FnCsumUpdate.Call(), // fails where there is none
	)
	p = append(p, difference(0, pseudoHeader|mangledZero)...)
	p = append(p, difference(12, mangledZero)...)
	// The hash of the flow, by which interfaces choose a queue, stays that of how it came: it is
	// one for one channel.
	return append(p, store(atIP, onHeader, storedHeader, 0)...)
}

// compose writes the headers, and what the checksum is over, to the stack.
func compose() asm.Instructions {
	p := asm.Instructions{
		asm.FnGetPrandomU32.Call(),
		asm.StoreMem(asm.RFP, onHeader+4, asm.R0, asm.Half), // of no meaning without fragments (RFC 6864)
		asm.Mov.Imm(asm.R1, network(0x4500)),
		asm.StoreMem(asm.RFP, onHeader, asm.R1, asm.Half),
		asm.LoadMem(asm.R2, asm.RFP, onLength, asm.DWord),
		asm.Mov.Reg(asm.R1, asm.R2),
		asm.HostTo(asm.BE, asm.R1, asm.Half),
		asm.StoreMem(asm.RFP, onHeader+2, asm.R1, asm.Half),
		asm.Mov.Imm(asm.R1, network(0x4000)), // do not fragment
		asm.StoreMem(asm.RFP, onHeader+6, asm.R1, asm.Half),
		asm.LoadMem(asm.R1, asm.R8, pathTTL, asm.Word),
		asm.StoreMem(asm.RFP, onHeader+8, asm.R1, asm.Byte),
		asm.Mov.Imm(asm.R1, 17),
		asm.StoreMem(asm.RFP, onHeader+9, asm.R1, asm.Byte),
		asm.Mov.Imm(asm.R1, 0),
		asm.StoreMem(asm.RFP, onHeader+10, asm.R1, asm.Half),
		asm.StoreMem(asm.RFP, onTo+20, asm.R1, asm.Word),
	}
	for i := int16(0); i < 3; i++ {
		p = append(p,
			asm.LoadMem(asm.R1, asm.R7, flowSource+4*i, asm.Word),
			asm.StoreMem(asm.RFP, onHeader+12+4*i, asm.R1, asm.Word),
			asm.StoreMem(asm.RFP, onTo+[]int16{0, 4, 12}[i], asm.R1, asm.Word),
		)
	}
	p = append(p,
		asm.Add.Imm(asm.R2, -20),
		asm.HostTo(asm.BE, asm.R2, asm.Half),
		asm.StoreMem(asm.RFP, onHeader+24, asm.R2, asm.Half),
		asm.StoreMem(asm.RFP, onTo+8, asm.R2, asm.Word),
		asm.StoreMem(asm.RFP, onTo+16, asm.R2, asm.Word),
	)
	p = append(p, sum(asm.RFP, onHeader, asm.R4, asm.R5)...)
	return append(p,
		asm.Xor.Imm(asm.R4, 0xffff),
		asm.StoreMem(asm.RFP, onHeader+10, asm.R4, asm.Half),
		asm.LoadMem(asm.R1, asm.R7, flowNumber, asm.Half),
		asm.JEq.Imm(asm.R1, 0, "composed"),
		asm.StoreMem(asm.RFP, onTo+20, asm.R1, asm.Half),
		asm.Mov.Reg(asm.R1, asm.R9),
		asm.HostTo(asm.BE, asm.R1, asm.Half),
		asm.StoreMem(asm.RFP, onTo+22, asm.R1, asm.Half),
	)
}

// resize gives the frame its length, at a label.
func resize(label string) asm.Instructions {
	return asm.Instructions{
		asm.LoadMem(asm.R2, asm.RFP, onLength, asm.DWord).WithSymbol(label),
		asm.Add.Imm(asm.R2, atIP),
		asm.LoadMem(asm.R1, asm.R6, skbLen, asm.Word),
		asm.JEq.Reg(asm.R1, asm.R2, label+", as it is"),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Imm(asm.R3, 0),
		asm.FnSkbChangeTail.Call(),
		asm.JNE.Imm(asm.R0, 0, "up"),
		asm.Mov.Imm(asm.R0, 0).WithSymbol(label + ", as it is"),
	}
}

// store writes bytes of the stack into the frame.
func store(at int32, from int16, size, flags int32) asm.Instructions {
	return asm.Instructions{
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Imm(asm.R2, at),
		asm.Mov.Reg(asm.R3, asm.RFP),
		asm.Add.Imm(asm.R3, int32(from)),
		asm.Mov.Imm(asm.R4, size),
		asm.Mov.Imm(asm.R5, flags),
		asm.FnSkbStoreBytes.Call(),
		asm.JNE.Imm(asm.R0, 0, "lose"),
	}
}

// difference has UDP's checksum follow what becomes of three words.
func difference(first int16, flags int32) asm.Instructions {
	return asm.Instructions{
		asm.Mov.Reg(asm.R1, asm.RFP),
		asm.Add.Imm(asm.R1, int32(onFrom+first)),
		asm.Mov.Imm(asm.R2, 12),
		asm.Mov.Reg(asm.R3, asm.RFP),
		asm.Add.Imm(asm.R3, int32(onTo+first)),
		asm.Mov.Imm(asm.R4, 12),
		asm.Mov.Imm(asm.R5, 0),
		asm.FnCsumDiff.Call(),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Imm(asm.R2, atUDPCheck),
		asm.Mov.Imm(asm.R3, 0),
		asm.Mov.Reg(asm.R4, asm.R0),
		asm.Mov.Imm(asm.R5, flags),
		asm.FnL4CsumReplace.Call(),
		asm.JNE.Imm(asm.R0, 0, "lose"),
	}
}

// leave counts the datagram and sends it.
func leave(m *maps) asm.Instructions {
	p := asm.Instructions{
		asm.Mov.Imm(asm.R1, 0),
		asm.StoreMem(asm.RFP, onIndex, asm.R1, asm.Word),
		asm.LoadMapPtr(asm.R1, m.counters.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, onIndex),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "lose"), // there is one
		asm.LoadMem(asm.R1, asm.RFP, onCame, asm.DWord),
		asm.JEq.Imm(asm.R1, 0, "from a peer"),
	}
	p = append(p, count(countersToPeers)...)
	p = append(p,
		asm.LoadMem(asm.R1, asm.R7, flowNumber, asm.Half).WithSymbol("from a peer"),
		asm.JEq.Imm(asm.R1, 0, "counted"),
	)
	p = append(p, count(countersToClients)...)
	return append(p,
		// What the server sends has neither.
		asm.Mov.Imm(asm.R1, 0).WithSymbol("counted"),
		asm.StoreMem(asm.R6, skbMark, asm.R1, asm.Word),
		asm.StoreMem(asm.R6, skbPriority, asm.R1, asm.Word),
		asm.LoadMem(asm.R5, asm.R8, pathNextHop, asm.Word),
		asm.Mov.Imm(asm.R2, 0),
		asm.Mov.Imm(asm.R3, 0),
		asm.JEq.Imm(asm.R5, 0, "redirect"),
		// struct bpf_redir_neigh
		asm.StoreMem(asm.RFP, onHop+8, asm.R1, asm.DWord),
		asm.StoreMem(asm.RFP, onHop+16, asm.R1, asm.Word),
		asm.Mov.Imm(asm.R1, unix.AF_INET),
		asm.StoreMem(asm.RFP, onHop, asm.R1, asm.Word),
		asm.StoreMem(asm.RFP, onHop+4, asm.R5, asm.Word),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, onHop),
		asm.Mov.Imm(asm.R3, 20),
		asm.LoadMem(asm.R1, asm.R8, pathInterface, asm.Word).WithSymbol("redirect"),
		asm.Mov.Imm(asm.R4, 0),
		asm.FnRedirectNeigh.Call(),
		asm.Return(),
	)
}

// count adds a datagram to two counters, which are this processor's alone.
func count(at int16) asm.Instructions {
	return asm.Instructions{
		asm.LoadMem(asm.R1, asm.R0, at, asm.DWord),
		asm.Add.Imm(asm.R1, 1),
		asm.StoreMem(asm.R0, at, asm.R1, asm.DWord),
		asm.LoadMem(asm.R1, asm.R0, at+8, asm.DWord),
		asm.Add.Reg(asm.R1, asm.R9),
		asm.StoreMem(asm.R0, at+8, asm.R1, asm.DWord),
	}
}

// narrow closes a path of which an ICMP error says that it carries less than was thought: from
// now on the server sends there, by what the kernel has learned, until the path is
// resolved anew.
func narrow(m *maps) asm.Instructions {
	p := asm.Instructions{
		asm.Mov.Reg(asm.R4, asm.R2).WithSymbol("icmp"),
		asm.Add.Imm(asm.R4, endOfInner),
		asm.JGT.Reg(asm.R4, asm.R3, "up"),
		asm.LoadMem(asm.R4, asm.R2, atUDP, asm.Half),
		asm.JNE.Imm(asm.R4, network(0x0304), "up"), // fragmentation needed
		asm.LoadMem(asm.R4, asm.R2, atInner, asm.Byte),
		asm.JNE.Imm(asm.R4, 0x45, "up"),
		asm.LoadMem(asm.R4, asm.R2, atInner+9, asm.Byte),
		asm.JNE.Imm(asm.R4, 17, "up"),
		asm.LoadMem(asm.R4, asm.R2, atInner+16, asm.Word),
		asm.StoreMem(asm.RFP, onKey, asm.R4, asm.Word),
		asm.LoadMem(asm.R4, asm.R2, atInner+12, asm.Word),
		asm.StoreMem(asm.RFP, onKey+4, asm.R4, asm.Word),
	}
	p = append(p, find(m.remotes, onKey)...)
	p = append(p,
		asm.LoadMem(asm.R1, asm.R0, 0, asm.Word),
		asm.StoreMem(asm.RFP, onIndex, asm.R1, asm.Word),
	)
	p = append(p, find(m.paths, onIndex)...)
	return append(p,
		asm.Mov.Imm(asm.R1, 0),
		asm.StoreMem(asm.R0, pathMTU, asm.R1, asm.Word),
		asm.LoadMapValue(asm.R1, m.settings.FD(), settingsNarrowed),
		asm.Mov.Imm(asm.R2, 1),
		asm.AddAtomic.Mem(asm.R1, asm.R2, asm.DWord, 0),
	) // and it goes up
}
