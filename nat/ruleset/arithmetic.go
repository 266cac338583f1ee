//go:build linux

package ruleset

import (
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Registers of sums.
const (
	keptIdentifier reg = 11
	keptSum        reg = 12
	term           reg = 13
	factor         reg = 14
)

// sum leaves first + step × the number in factor, which is in the machine's
// order, in a register, all as ports.
//
// The rule machine cannot add, but it mends checksums: where a field is replaced
// by 0, it adds what the field was to the checksum. So the sum is made in the
// packet: the header's checksum is its accumulator, the identifier has one term
// after the other, and both are put back. The sum is not 0, and below 65536:
// then one's complement arithmetic is ordinary (RFC 1071).
func sum(first reg, step int, to reg) []expr.Any {
	exprs := []expr.Any{
		load(ipIdentifier, keptIdentifier), load(ipSum, keptSum),
		storePlain(first, ipSum), immediate(scratch, 0, 0),
	}
	for bit := 0; step>>bit > 0; bit++ {
		if step>>bit&1 == 0 {
			continue
		}
		exprs = append(exprs, shifted(factor, term, bit), networkOrder(term),
			storePlain(term, ipIdentifier), store(scratch, ipIdentifier, ipChecksum))
	}
	return append(exprs, load(ipSum, to), storePlain(keptIdentifier, ipIdentifier), storePlain(keptSum, ipSum))
}

// networkOrder swaps the bytes of a port.
func networkOrder(r reg) expr.Any {
	return &expr.Byteorder{
		SourceRegister: r.number(), DestRegister: r.number(), Op: expr.ByteorderHton, Len: 2, Size: 2,
	}
}

// parityIs ends the rule unless the port in a register is odd or even; another
// register is overwritten.
func parityIs(port, work reg, odd byte) []expr.Any {
	return []expr.Any{
		&expr.Bitwise{
			SourceRegister: port.number(), DestRegister: work.number(), Len: 2,
			Mask: []byte{0, 1}, Xor: []byte{0, 0},
		},
		compare(work, expr.CmpOpEq, 0, odd),
	}
}

// everything is the mask of a copy.
var everything = []byte{0xff, 0xff, 0xff, 0xff}

// shifted copies a register's number, shifted to the left.
func shifted(from, to reg, bits int) expr.Any {
	if bits == 0 { // which the kernel would not shift by
		return &expr.Bitwise{
			SourceRegister: from.number(), DestRegister: to.number(), Len: 4,
			Mask: everything, Xor: make([]byte, 4),
		}
	}
	return &leftShift{from: from.number(), to: to.number(), bits: uint32(bits)}
}

// leftShift is an expression that the library lacks.
type leftShift struct {
	expr.Any
	from, to, bits uint32
}

// Attributes of the kernel's bitwise expression that x/sys/unix lacks.
const (
	attributeBitwiseOperation = 6
	attributeBitwiseData      = 7
	bitwiseLeftShift          = 1
)

func (s *leftShift) encode() ([]byte, error) {
	value, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: unix.NFTA_DATA_VALUE, Data: binaryutil.NativeEndian.PutUint32(s.bits)},
	})
	if err != nil {
		return nil, err
	}
	data, err := netlink.MarshalAttributes([]netlink.Attribute{
		number(unix.NFTA_BITWISE_SREG, s.from), number(unix.NFTA_BITWISE_DREG, s.to),
		number(unix.NFTA_BITWISE_LEN, 4), number(attributeBitwiseOperation, bitwiseLeftShift),
		{Type: unix.NLA_F_NESTED | attributeBitwiseData, Data: value},
	})
	if err != nil {
		return nil, err
	}
	return netlink.MarshalAttributes([]netlink.Attribute{
		text(unix.NFTA_EXPR_NAME, "bitwise"),
		{Type: unix.NLA_F_NESTED | unix.NFTA_EXPR_DATA, Data: data},
	})
}

// unmarshalShift reads a bitwise expression that is a shift; false: it is none.
func unmarshalShift(data []byte) (*leftShift, bool) {
	ad, err := netlink.NewAttributeDecoder(data)
	if err != nil {
		return nil, false
	}
	s, shift := &leftShift{}, false
	for ad.Next() {
		b := ad.Bytes()
		if len(b) < 4 {
			continue
		}
		switch ad.Type() {
		case unix.NFTA_BITWISE_SREG:
			s.from = binaryutil.BigEndian.Uint32(b)
		case unix.NFTA_BITWISE_DREG:
			s.to = binaryutil.BigEndian.Uint32(b)
		case attributeBitwiseOperation:
			shift = binaryutil.BigEndian.Uint32(b) == bitwiseLeftShift
		case attributeBitwiseData:
			if len(b) >= 8 { // behind the header of the value
				s.bits = binaryutil.NativeEndian.Uint32(b[4:])
			}
		}
	}
	return s, shift && ad.Err() == nil
}
