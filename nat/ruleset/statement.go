//go:build linux

package ruleset

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// reader turns the expressions of a rule into statements for people. It follows
// what the registers hold, so that the text speaks of fields and not of them.
type reader struct {
	sets      map[string]*nftables.Set
	registers [16]string
	sum, term string // of a sum that is being made
	out       []string
}

// statements gives the text of a rule.
func statements(r dumpedRule, sets map[string]*nftables.Set) string {
	rd := &reader{sets: sets}
	for i, e := range r.exprs {
		if e.name == "ct" && i+1 < len(r.exprs) && r.exprs[i+1].name == "notrack" {
			rd.say("defragment (ct state)")
			continue
		}
		rd.read(e)
	}
	return strings.Join(rd.out, "; ")
}

func (r *reader) say(format string, args ...any) { r.out = append(r.out, fmt.Sprintf(format, args...)) }

// slot is the place of a register in units of 32 bits. The registers 1 to 4 are
// old names for four of them each.
func slot(register uint32) int {
	switch {
	case register >= unix.NFT_REG32_00 && register <= unix.NFT_REG32_15:
		return int(register - unix.NFT_REG32_00)
	case register >= unix.NFT_REG_1 && register <= unix.NFT_REG_4:
		return int(register-unix.NFT_REG_1) * 4
	}
	return 0
}

func (r *reader) put(register uint32, text string) { r.registers[slot(register)] = text }

// get gives what a register and those behind it hold.
func (r *reader) get(register uint32, bytes uint32) string {
	from := slot(register)
	to := min(from+max(1, int(bytes+3)/4), len(r.registers))
	return strings.Join(r.registers[from:to], " . ")
}

func (r *reader) read(d dumpedExpr) {
	switch e := d.expr.(type) {
	case *expr.Payload:
		r.payload(e)
	case *expr.Meta:
		if e.SourceRegister {
			r.say("meta %s := %s", metaName(e.Key), r.get(e.Register, 4))
		} else {
			r.put(e.Register, metaName(e.Key))
		}
	case *expr.Ct:
		r.put(e.Register, map[expr.CtKey]string{expr.CtKeySTATE: "ct state", expr.CtKeySTATUS: "ct status"}[e.Key])
	case *expr.Bitwise:
		switch from := r.get(e.SourceRegister, e.Len); {
		case bytes.Equal(e.Mask, everything): // see shifted
			r.put(e.DestRegister, from)
		case e.Len == 2:
			r.put(e.DestRegister, from+" mod 2")
		default:
			r.put(e.DestRegister, from+" & "+flowBitNames(from, e.Mask))
		}
	case *expr.Connlimit:
		r.say("more than %d flows", e.Count)
	case *expr.Masq:
		r.masquerade(e)
	case *expr.Cmp:
		left := r.get(e.Register, 1)
		r.say("%s %s %s", left, operator(e.Op), literal(left, e.Data))
	case *expr.Immediate:
		r.put(e.Register, literal("", e.Data))
	case *expr.Lookup:
		r.lookup(e)
	case *expr.Dynset:
		r.dynset(e)
	case *expr.Numgen:
		kind := "next"
		if e.Type == unix.NFT_NG_RANDOM {
			kind = "random"
		}
		r.put(e.Register, fmt.Sprintf("%s of %d-%d", kind, e.Offset, e.Offset+e.Modulus-1))
	case *expr.Hash:
		r.put(e.DestRegister, fmt.Sprintf("hash(%s) mod %d", r.get(e.SourceRegister, e.Length), e.Modulus))
	case *expr.Fib:
		r.put(e.Register, "interface to ip saddr")
	case *expr.Log: // which says what the comment says
	case *expr.Counter:
		r.say("counter %d packets %d bytes", e.Packets, e.Bytes)
	case *expr.Reject:
		r.say("reject with %s", map[bool]string{true: "tcp reset", false: "icmp admin-prohibited"}[e.Type == unix.NFT_REJECT_TCP_RST])
	case *expr.Verdict:
		r.say("%s", verdict(e))
	case *leftShift:
		r.put(e.to, fmt.Sprintf("%d × %s", 1<<e.bits, r.get(e.from, 4)))
	default:
		if d.name != "byteorder" { // which changes no value, for people
			r.say("%s", d.name)
		}
	}
}

func (r *reader) payload(e *expr.Payload) {
	f := field{e.Base, e.Offset, e.Len}
	name := fieldName(f)
	if e.OperationType == expr.PayloadLoad {
		if f == ipSum && r.sum != "" {
			name = r.sum
		}
		r.put(e.DestRegister, name)
		return
	}
	if f == ipSum || f == ipIdentifier {
		r.add(e, f)
		return
	}
	note := ""
	if e.CsumType == expr.CsumTypeNone {
		note = " (no checksum)"
	}
	r.say("%s := %s%s", name, r.get(e.SourceRegister, e.Len), note)
}

// add follows the making of a sum: see there.
func (r *reader) add(e *expr.Payload, f field) {
	value := r.get(e.SourceRegister, e.Len)
	switch {
	case e.CsumType != expr.CsumTypeNone:
		r.sum += " + " + r.term
	case f == ipIdentifier:
		r.term = value
	case value == fieldName(ipSum): // put back
		r.sum = ""
	default:
		r.sum = value
	}
}

func (r *reader) lookup(e *expr.Lookup) {
	key, verb := r.get(e.SourceRegister, r.keyBytes(e.SetName)), "in"
	if e.Invert {
		verb = "not in"
	}
	r.say("%s %s @%s", key, verb, e.SetName)
	if !e.IsDestRegSet {
		return
	}
	for i, name := range dataNames(e.SetName) {
		if at := slot(e.DestRegister) + i; at < len(r.registers) {
			r.registers[at] = name
		}
	}
}

func (r *reader) dynset(e *expr.Dynset) {
	verb, limit, data := "add", "", ""
	switch e.Operation {
	case unix.NFT_DYNSET_OP_UPDATE:
		verb = "refresh"
	case opDelete:
		verb = "delete"
	}
	if e.Timeout > 0 {
		limit = fmt.Sprintf(" for %v", e.Timeout)
	}
	if len(e.Exprs) > 0 {
		limit += " once"
	}
	if s := r.sets[e.SetName]; verb != "delete" && e.SrcRegData != 0 && s != nil {
		data = " : " + r.get(e.SrcRegData, s.DataType.Bytes)
	}
	r.say("%s @%s { %s%s }%s", verb, e.SetName, r.get(e.SrcRegKey, r.keyBytes(e.SetName)), data, limit)
}

func (r *reader) keyBytes(set string) uint32 {
	if s := r.sets[set]; s != nil {
		return s.KeyType.Bytes
	}
	return 4
}

// dataNames are the fields of a map's data.
func dataNames(set string) []string {
	switch {
	case strings.HasSuffix(set, "_"+setOut):
		return []string{"external address", "external port"}
	case strings.HasSuffix(set, "_"+setBlock):
		return []string{"first port of the block"}
	case strings.HasSuffix(set, "_"+setIn):
		return []string{"inside address", "inside port", "mapping's remote address", "mapping's remote port"}
	}
	return []string{"external address"}
}

var fieldNames = map[field]string{
	ipIdentifier: "ip id", ipSum: "ip checksum",
	ipProtocol: "ip protocol", source: "ip saddr", destination: "ip daddr",
	sourcePort: "sport", destinationPort: "dport", udpChecksum: "udp checksum",
	icmpType: "icmp type", icmpCode: "icmp code", echoIdentifier: "echo id",
	quotedVersion: "quoted version", quotedProtocol: "quoted ip protocol",
	quotedSource: "quoted ip saddr", quotedDestination: "quoted ip daddr",
	quotedSourcePort: "quoted sport", quotedDestinationPort: "quoted dport",
	quotedICMPType: "quoted icmp type", quotedEchoIdentifier: "quoted echo id",
}

func fieldName(f field) string {
	if name, ok := fieldNames[f]; ok {
		return name
	}
	base := map[expr.PayloadBase]string{expr.PayloadBaseNetworkHeader: "nh", expr.PayloadBaseTransportHeader: "th"}[f.base]
	return fmt.Sprintf("@%s+%d,%d", base, f.offset, f.length)
}

func metaName(k expr.MetaKey) string {
	switch k {
	case expr.MetaKeyIIFNAME:
		return "iifname"
	case expr.MetaKeyOIFNAME:
		return "oifname"
	case expr.MetaKeyMARK:
		return "mark"
	}
	return fmt.Sprintf("meta %d", k)
}

func operator(op expr.CmpOp) string {
	names := map[expr.CmpOp]string{
		expr.CmpOpEq: "==", expr.CmpOpNeq: "!=", expr.CmpOpLt: "<",
		expr.CmpOpLte: "<=", expr.CmpOpGt: ">", expr.CmpOpGte: ">=",
	}
	return names[op]
}

// literal gives a constant in the form that suits what it is compared with.
func literal(with string, data []byte) string {
	switch {
	case strings.HasPrefix(with, "interface to"):
		return "another"
	case strings.HasSuffix(with, "ifname"):
		return fmt.Sprintf("%q", strings.TrimRight(string(data), "\x00"))
	case strings.HasSuffix(with, "ip protocol"):
		for _, p := range protocols {
			if len(data) > 0 && p.number == data[0] {
				return p.name
			}
		}
	case strings.HasSuffix(with, "version"):
		return "4 without options"
	}
	switch len(data) {
	case 1:
		return fmt.Sprint(data[0])
	case 2:
		return fmt.Sprint(binaryutil.BigEndian.Uint16(data))
	case 4:
		if data[0] == 0 {
			return fmt.Sprint(binaryutil.BigEndian.Uint32(data))
		}
		return netip.AddrFrom4([4]byte(data)).String()
	}
	return "0x" + hex.EncodeToString(data)
}

func verdict(v *expr.Verdict) string {
	switch v.Kind {
	case expr.VerdictAccept:
		return "accept"
	case expr.VerdictDrop:
		return "drop"
	case expr.VerdictReturn:
		return "return"
	case expr.VerdictJump:
		return "jump " + v.Chain
	case expr.VerdictGoto:
		return "goto " + v.Chain
	}
	return fmt.Sprintf("verdict %d", v.Kind)
}
