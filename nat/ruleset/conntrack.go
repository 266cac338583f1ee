//go:build linux

package ruleset

import (
	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"p2pmodel/nat"
)

// Base chains of a NAT that is the kernel's own.
const (
	chainOwnInput   = "input"       // packets for the router itself
	chainPass       = "forward"     // both directions
	chainMasquerade = "postrouting" // the first packet of each flow
	chainLeave      = "leave"       // behind the translation
)

// priorityLeave is behind the kernel's translation of sources, at 100.
const priorityLeave = 110

// confirmed is the bit of a flow's status that it has from its first packet's way
// out on (IPS_CONFIRMED).
const confirmed = 1 << 3

// tracking builds the rules of a NAT that the kernel makes: its conntrack with
// masquerade. Each flow is known to the kernel, which translates its packets by
// itself; rules see to what must not pass.
type tracking struct {
	cfg  Config
	pool *pool
}

func buildTracking(cfg Config) *transaction {
	t := newTransaction(natTable)
	t.log = cfg.Log
	// A set even of one address: it tells Mappings which addresses are external.
	b := &tracking{cfg: cfg, pool: &pool{cfg: cfg, known: &nftables.Set{Name: setExternal, KeyType: nftables.TypeIPAddr}}}
	var addresses []nftables.SetElement
	for _, a := range cfg.External {
		addresses = append(addresses, nftables.SetElement{Key: a.AsSlice()})
	}
	t.set(b.pool.known, addresses...)
	t.hook(chainOwnInput, nftables.ChainTypeFilter, nftables.ChainHookInput, priorityForward)
	t.hook(chainPass, nftables.ChainTypeFilter, nftables.ChainHookForward, priorityForward)
	t.hook(chainMasquerade, nftables.ChainTypeNAT, nftables.ChainHookPostrouting, *nftables.ChainPriorityNATSource)
	t.hook(chainLeave, nftables.ChainTypeFilter, nftables.ChainHookPostrouting, priorityLeave)
	b.input(t)
	b.forward(t)
	b.translate(t)
	return t
}

// input is for packets to external addresses that no flow expects.
func (b *tracking) input(t *transaction) {
	t.rule(chainOwnInput, "from outside for another address: inside addresses are not known there",
		entersBy(b.cfg.Outside), b.pool.isNot(destination), drop(CauseInside))
	if b.cfg.Behavior.Early == nat.EarlyAccept {
		t.rule(chainOwnInput, "from outside, and no flow expects it: it begins one with the router itself",
			entersBy(b.cfg.Outside), &expr.Counter{}, accept())
	} else {
		t.rule(chainOwnInput, "from outside, and no flow expects it",
			entersBy(b.cfg.Outside), drop(CauseNoMapping))
	}
	t.rule(chainOwnInput, "no hairpin", b.pool.is(destination), drop(CauseHairpin))
}

func (b *tracking) forward(t *transaction) {
	t.rule(chainPass, "an answer, or an error about a flow",
		entersBy(b.cfg.Outside), flowIs(expr.CtKeySTATE, expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED), accept())
	t.rule(chainPass, "from outside, and no flow expects it: inside addresses are not known there",
		entersBy(b.cfg.Outside), drop(CauseInside))
	t.rule(chainPass, "an inside host has no external address",
		leavesBy(b.cfg.Outside), b.pool.is(source), drop(CauseSource))
	if b.cfg.Behavior.TableSize == nat.DefaultTableSize {
		return // conntrack's own limit is one of the whole machine
	}
	for _, p := range protocols {
		t.rule(chainPass, p.name+": the table is full",
			leavesBy(b.cfg.Outside), match(ipProtocol, p.number), flowIsNot(expr.CtKeySTATUS, confirmed),
			&expr.Connlimit{Count: uint32(b.cfg.Behavior.TableSize), Flags: expr.NFT_CONNLIMIT_F_INV}, drop(CauseExhausted))
	}
}

func (b *tracking) translate(t *transaction) {
	t.rule(chainMasquerade, "a new flow from inside to outside", leavesBy(b.cfg.Outside), b.masquerade(t))
	t.rule(chainLeave, "not translated: it is of no flow that conntrack would know",
		leavesBy(b.cfg.Outside), b.pool.untranslated(), drop(CauseProtocol))
}

// masquerade loads the range of ports, where it is not the kernel's own, and
// translates.
func (b *tracking) masquerade(t *transaction) []expr.Any {
	var exprs []expr.Any
	var attributes []netlink.Attribute
	var flags uint32
	switch b.cfg.Behavior.Kind {
	case nat.KindMasqueradeRandom:
		flags = unix.NF_NAT_RANGE_PROTO_RANDOM
	case nat.KindMasqueradeFullyRandom:
		flags = unix.NF_NAT_RANGE_PROTO_RANDOM_FULLY
	}
	if r := b.cfg.Behavior.Range; r != nat.DefaultPortRange {
		const low, high reg = 0, 1
		exprs = append(exprs, immediate(low, port(r.Low)...), immediate(high, port(r.High)...))
		attributes = append(attributes,
			number(unix.NFTA_MASQ_REG_PROTO_MIN, low.number()), number(unix.NFTA_MASQ_REG_PROTO_MAX, high.number()))
		flags |= unix.NF_NAT_RANGE_PROTO_SPECIFIED // without it the kernel draws from all ports
	}
	if flags != 0 {
		attributes = append(attributes, number(unix.NFTA_MASQ_FLAGS, flags))
	}
	return append(exprs, t.encoded("masq", attributes...))
}

// encoded is an expression that the library cannot encode: its masquerade has
// either flags or a range.
type encoded struct {
	expr.Any
	data []byte
}

func (t *transaction) encoded(name string, attributes ...netlink.Attribute) expr.Any {
	data, err := netlink.MarshalAttributes([]netlink.Attribute{
		text(unix.NFTA_EXPR_NAME, name), t.nested(unix.NFTA_EXPR_DATA, attributes...),
	})
	if err != nil {
		t.err = err
	}
	return encoded{data: data}
}

// marshal encodes an expression.
func marshal(family byte, e expr.Any) ([]byte, error) {
	switch e := e.(type) {
	case encoded:
		return e.data, nil
	case *leftShift:
		return e.encode()
	}
	return expr.Marshal(family, e)
}

// flowIs matches packets of flows with one of the bits, flowIsNot those without.
func flowIs(key expr.CtKey, bits uint32) []expr.Any { return flowBits(key, bits, expr.CmpOpNeq) }

func flowIsNot(key expr.CtKey, bits uint32) []expr.Any { return flowBits(key, bits, expr.CmpOpEq) }

func flowBits(key expr.CtKey, bits uint32, op expr.CmpOp) []expr.Any {
	return []expr.Any{
		&expr.Ct{Key: key, Register: scratch.number()},
		&expr.Bitwise{
			SourceRegister: scratch.number(), DestRegister: scratch.number(), Len: 4,
			Mask: binaryutil.NativeEndian.PutUint32(bits), Xor: make([]byte, 4),
		},
		compare(scratch, op, 0, 0, 0, 0),
	}
}
