//go:build linux

package ruleset

import (
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// reg numbers the 32-bit registers of the kernel's rule machine: 0 to 15. The
// kernel requires of each rule that it fills the registers it reads, so nothing
// is passed in them from rule to rule.
type reg uint32

// number is what the kernel calls the register.
func (r reg) number() uint32 { return unix.NFT_REG32_00 + uint32(r) }

// field is a part of a packet.
type field struct {
	base   expr.PayloadBase
	offset uint32
	length uint32
}

func network(offset, length uint32) field {
	return field{expr.PayloadBaseNetworkHeader, offset, length}
}

func transport(offset, length uint32) field {
	return field{expr.PayloadBaseTransportHeader, offset, length}
}

// Fields of the IPv4 header (RFC 791) and of those behind it.
var (
	ipIdentifier = network(4, 2)
	ipProtocol   = network(9, 1)
	ipSum        = network(10, 2)
	source       = network(12, 4)
	destination  = network(16, 4)

	sourcePort      = transport(0, 2)
	destinationPort = transport(2, 2)
	udpChecksum     = transport(6, 2)
	icmpType        = transport(0, 1)
	icmpCode        = transport(1, 1)
	echoIdentifier  = transport(4, 2)
)

// Fields of the packet that an ICMP error quotes, behind the 8 bytes of the
// error's own header. Its header has no options: quotedVersion says so.
var (
	quotedVersion         = transport(8, 1)
	quotedProtocol        = transport(8+9, 1)
	quotedSource          = transport(8+12, 4)
	quotedDestination     = transport(8+16, 4)
	quotedSourcePort      = transport(28, 2)
	quotedDestinationPort = transport(28+2, 2)
	quotedICMPType        = transport(28, 1)
	quotedEchoIdentifier  = transport(28+4, 2)
)

// Offsets of checksums: in the network header, and in the transport header of
// an ICMP error.
const (
	ipChecksum     = 10
	icmpChecksum   = 2
	quotedChecksum = 8 + 10
)

// ICMP types (RFC 792).
const (
	icmpEchoReply        = 0
	icmpUnreachable      = 3
	icmpEchoRequest      = 8
	icmpTimeExceeded     = 11
	icmpParameterProblem = 12
)

// icmpProhibited is the code of icmpUnreachable that says that somebody forbids it
// (RFC 1812 section 5.2.7.1).
const icmpProhibited = 13

// plainIPv4 is the first byte of an IPv4 header without options.
const plainIPv4 = 0x45

func load(f field, to reg) expr.Any {
	return &expr.Payload{
		OperationType: expr.PayloadLoad, DestRegister: to.number(),
		Base: f.base, Offset: f.offset, Len: f.length,
	}
}

// store writes a field and mends the checksum at the offset, which counts from
// the same header.
func store(from reg, f field, checksum uint32) expr.Any {
	return &expr.Payload{
		OperationType: expr.PayloadWrite, SourceRegister: from.number(),
		Base: f.base, Offset: f.offset, Len: f.length,
		CsumType: expr.CsumTypeInet, CsumOffset: checksum,
	}
}

// storePlain writes a field and mends no checksum.
func storePlain(from reg, f field) expr.Any {
	return &expr.Payload{
		OperationType: expr.PayloadWrite, SourceRegister: from.number(),
		Base: f.base, Offset: f.offset, Len: f.length,
	}
}

// storeAddress writes an address of the IPv4 header. The transport's checksum
// covers it too, by the pseudo-header; the kernel leaves that of ICMP alone, and
// one of UDP that is 0.
func storeAddress(from reg, f field) expr.Any {
	return &expr.Payload{
		OperationType: expr.PayloadWrite, SourceRegister: from.number(),
		Base: f.base, Offset: f.offset, Len: f.length,
		CsumType: expr.CsumTypeInet, CsumOffset: ipChecksum,
		CsumFlags: unix.NFT_PAYLOAD_L4CSUM_PSEUDOHDR,
	}
}

func immediate(to reg, data ...byte) expr.Any {
	return &expr.Immediate{Register: to.number(), Data: data}
}

func compare(r reg, op expr.CmpOp, data ...byte) expr.Any {
	return &expr.Cmp{Op: op, Register: r.number(), Data: data}
}

// scratch is the register of matches; their rules need its content no longer
// when they load what they work on.
const scratch reg = 15

func match(f field, data ...byte) []expr.Any {
	return []expr.Any{load(f, scratch), compare(scratch, expr.CmpOpEq, data...)}
}

func matchNot(f field, data ...byte) []expr.Any {
	return []expr.Any{load(f, scratch), compare(scratch, expr.CmpOpNeq, data...)}
}

// wide is the first register of a match of 16 bytes, an interface's name.
const wide reg = 12

func interfaceIs(key expr.MetaKey, op expr.CmpOp, name string) []expr.Any {
	padded := make([]byte, unix.IFNAMSIZ)
	copy(padded, name)
	return []expr.Any{
		&expr.Meta{Key: key, Register: wide.number()},
		compare(wide, op, padded...),
	}
}

func entersBy(name string) []expr.Any {
	return interfaceIs(expr.MetaKeyIIFNAME, expr.CmpOpEq, name)
}

func entersNotBy(name string) []expr.Any {
	return interfaceIs(expr.MetaKeyIIFNAME, expr.CmpOpNeq, name)
}

func leavesBy(name string) []expr.Any {
	return interfaceIs(expr.MetaKeyOIFNAME, expr.CmpOpEq, name)
}

func leavesNotBy(name string) []expr.Any {
	return interfaceIs(expr.MetaKeyOIFNAME, expr.CmpOpNeq, name)
}

func jump(chain string) expr.Any { return &expr.Verdict{Kind: expr.VerdictJump, Chain: chain} }

// goTo is a jump without return: the end of the chain returns to the caller of
// this one.
func goTo(chain string) expr.Any { return &expr.Verdict{Kind: expr.VerdictGoto, Chain: chain} }

func accept() expr.Any { return &expr.Verdict{Kind: expr.VerdictAccept} }

// back ends the chain.
func back() expr.Any { return &expr.Verdict{Kind: expr.VerdictReturn} }

func port(p uint16) []byte { return binaryutil.BigEndian.PutUint16(p) }

// join makes one list of expressions out of expressions and lists of them.
func join(parts ...any) []expr.Any {
	var all []expr.Any
	for _, p := range parts {
		switch p := p.(type) {
		case expr.Any:
			all = append(all, p)
		case []expr.Any:
			all = append(all, p...)
		}
	}
	return all
}
