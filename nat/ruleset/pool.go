//go:build linux

package ruleset

import (
	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"p2pmodel/nat"
)

// pool is the external addresses.
type pool struct {
	cfg   Config
	known *nftables.Set // nil where there is one address
	byKey *nftables.Set // number → address; nil likewise
}

// pairing seeds the hash that pairs inside with external addresses. All rules
// share it, and it is never 0: the kernel would draw one for each rule.
const pairing = 0x4787

func (p *pool) declare(t *transaction) {
	if len(p.cfg.External) == 1 {
		return
	}
	var addresses, numbered []nftables.SetElement
	for i, a := range p.cfg.External {
		addresses = append(addresses, nftables.SetElement{Key: a.AsSlice()})
		numbered = append(numbered, nftables.SetElement{
			Key: binaryutil.NativeEndian.PutUint32(uint32(i)), Val: a.AsSlice(),
		})
	}
	p.known = &nftables.Set{Name: setExternal, KeyType: nftables.TypeIPAddr}
	t.set(p.known, addresses...)
	p.byKey = &nftables.Set{
		Name: setPool, IsMap: true, KeyType: nftables.TypeInteger, DataType: nftables.TypeIPAddr,
	}
	t.set(p.byKey, numbered...)
}

// rounds is how many addresses a new mapping tries.
func (p *pool) rounds() int {
	if p.cfg.Behavior.Pooling == nat.PoolArbitrary {
		return len(p.cfg.External)
	}
	return 1
}

// next takes the addresses in turn, where pooling is arbitrary. The number stays
// with the packet, in its mark, through all ports that are tried: else the turn
// of the addresses would march in step with that of the ports, and some pairs
// would never be tried.
func (p *pool) next(t *transaction, chain string) {
	if p.byKey == nil || p.cfg.Behavior.Pooling != nat.PoolArbitrary {
		return
	}
	t.rule(chain, "take the next external address",
		&expr.Numgen{Register: scratch.number(), Type: unix.NFT_NG_INCREMENTAL, Modulus: uint32(len(p.cfg.External))},
		&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: scratch.number()})
}

// choose loads the external address of a new mapping.
func (p *pool) choose(to reg) []expr.Any {
	n := uint32(len(p.cfg.External))
	switch {
	case n == 1:
		return []expr.Any{immediate(to, p.cfg.External[0].AsSlice()...)}
	case p.cfg.Behavior.Pooling == nat.PoolArbitrary:
		return []expr.Any{
			&expr.Meta{Key: expr.MetaKeyMARK, Register: scratch.number()},
			lookup(p.byKey, scratch, to),
		}
	default:
		return []expr.Any{
			load(source, scratch),
			&expr.Hash{
				SourceRegister: scratch.number(), DestRegister: scratch.number(), Length: 4,
				Modulus: n, Seed: pairing, Type: expr.HashTypeJenkins,
			},
			lookup(p.byKey, scratch, to),
		}
	}
}

// is matches packets whose field is an external address.
func (p *pool) is(f field) []expr.Any {
	if p.known == nil {
		return match(f, p.cfg.External[0].AsSlice()...)
	}
	return []expr.Any{load(f, scratch), member(p.known, scratch)}
}

// isNot matches the others.
func (p *pool) isNot(f field) []expr.Any {
	if p.known == nil {
		return matchNot(f, p.cfg.External[0].AsSlice()...)
	}
	return []expr.Any{load(f, scratch), notMember(p.known, scratch)}
}

// untranslated matches packets whose source is not external.
func (p *pool) untranslated() []expr.Any { return p.isNot(source) }
