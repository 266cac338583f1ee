//go:build linux

package ruleset

import (
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"p2pmodel/nat"
)

// Names of the tables that the package makes.
const (
	natTable      = "nat"
	firewallTable = "firewall"
)

// Names of the sets of a protocol, behind its name and an underscore.
const (
	setOut       = "out"       // inside [remote] → external
	setIn        = "in"        // external → the key of setOut
	setUsed      = "used"      // external ports in use
	setFilter    = "filter"    // external . remote: may enter, a mapping each
	setContacted = "contacted" // inside . remote: may enter, an endpoint each

	setBorn      = "born"       // external sides that are not too old yet
	setReplied   = "replied"    // external sides through which a packet came in
	setBlock     = "block"      // inside address . external address → first port
	setBlockUsed = "block_used" // external address . first port, of blocks in use
)

// Names of the sets that all protocols share.
const (
	setExternal = "external" // the external addresses
	setPool     = "pool"     // number → external address
	setErrors   = "icmp_errors"
)

// spare is how many elements more than mappings a set may have at least: the
// kernel collects expired elements once a second, and they count until then.
const spare = 4096

// room is the size of a set that may have n elements and is not to be what is
// full. The kernel makes room beforehand for the lower 16 bits of a set's size
// (rhashtable_params.nelem_hint), 128 kB for 4096; for multiples of 65536 that is
// none, and the set grows as it is filled. A NAT's memory is a third then.
func room(n int) int {
	const unit = 1 << 16
	return (n + spare + unit - 1) / unit * unit
}

// filterEntries is how many remote sides all mappings of a protocol may have
// together, where the table is not larger.
const filterEntries = 65536

// state is the tables of one protocol, and the expressions that work on them.
// Registers have fixed places: 0–3 the key of out, 4–5 the external side, and
// 6–7 behind it the remote side of the filter. With the filter of an endpoint
// the remote side is in 2–3, behind the inside.
type state struct {
	protocol
	cfg                   Config
	out, in, used, filter *nftables.Set
	// Each of these is nil where the behaviour has no use for it.
	born, replied, block, blockUsed *nftables.Set
	outLen, remoteLen               int // registers: of out's key, of the filter's remote side
	perEndpoint                     bool
	// outRefreshes and inRefreshes say which packets restart the idle timer.
	outRefreshes, inRefreshes bool
	oneWay, stream            age
}

// age is a part of a mapping's life, with times of its own: before a packet came
// in, and from then on.
type age struct {
	title string
	match []expr.Any // of the external side
	idle  time.Duration
	// hold is how long the port is kept from others: not shorter than the entries
	// that the filter still may have from the age before.
	hold time.Duration
}

const (
	inside   reg = 0 // address, port, and the remote side where mapping looks at it
	remote   reg = 2 // behind inside: address, port
	external reg = 4 // address, port
	stranger reg = 6 // behind external: address, port of the remote side
	// subscriber is whom a block belongs to: inside address, external address; and
	// behind it the first port of the block.
	subscriber reg = 8
	firstPort  reg = 10
)

var endpointTypes = []nftables.SetDatatype{nftables.TypeIPAddr, nftables.TypeInetService}

// endpoints is the type of several address . port, the last cut to n fields.
func endpoints(n int) nftables.SetDatatype {
	var types []nftables.SetDatatype
	for i := range n {
		types = append(types, endpointTypes[i%2])
	}
	return nftables.MustConcatSetType(types...)
}

// fields is how many fields of the remote transport address a dependence looks
// at.
func fields(d nat.Dependence) int {
	switch d {
	case nat.AddressDependent:
		return 1
	case nat.AddressAndPortDependent:
		return 2
	default:
		return 0
	}
}

// declare makes the sets of the protocol.
func (s *state) declare(t *transaction) {
	b := s.cfg.Behavior
	s.outLen, s.remoteLen = 2+fields(b.Mapping), fields(b.Filtering)
	s.perEndpoint = b.Scope == nat.ScopeEndpoint
	s.outRefreshes, s.inRefreshes = b.Refresh != nat.RefreshInbound, b.Refresh != nat.RefreshOutbound
	oneWay, stream := s.times(b)
	longest := max(oneWay, stream)
	dynamic := func(name string, key nftables.SetDatatype, size int, timeout time.Duration) *nftables.Set {
		return &nftables.Set{
			Name: s.name + "_" + name, KeyType: key, Size: uint32(size),
			Dynamic: true, HasTimeout: true, Timeout: timeout,
		}
	}
	// The used ports bound the table. The others have room for what expired and
	// was not collected yet, so that they are never what is full.
	s.used = dynamic(setUsed, endpoints(2), b.TableSize, oneWay)
	s.out = dynamic(setOut, endpoints(s.outLen), room(b.TableSize), oneWay)
	s.out.IsMap, s.out.DataType = true, endpoints(2)
	s.in = dynamic(setIn, endpoints(2), room(b.TableSize), oneWay)
	s.in.IsMap, s.in.DataType = true, endpoints(s.outLen)
	t.set(s.out)
	t.set(s.in)
	t.set(s.used)
	if s.remoteLen > 0 {
		name := setFilter
		if s.perEndpoint {
			name = setContacted
		}
		s.filter = dynamic(name, endpoints(2+s.remoteLen), room(max(filterEntries, b.TableSize)), oneWay)
		t.set(s.filter)
	}
	if b.Rotate > 0 {
		s.born = dynamic(setBorn, endpoints(2), room(b.TableSize), b.Rotate)
		t.set(s.born)
	}
	s.oneWay = age{idle: oneWay, hold: oneWay}
	s.stream = s.oneWay
	if stream != oneWay {
		s.replied = dynamic(setReplied, endpoints(2), room(b.TableSize), longest)
		t.set(s.replied)
		s.stream = age{title: ", a stream", match: []expr.Any{member(s.replied, external)}, idle: stream, hold: longest}
	}
	if b.Ports == nat.Block {
		count := blocks(b) * len(s.cfg.External)
		s.block = dynamic(setBlock, nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeIPAddr), room(count), longest)
		s.block.IsMap, s.block.DataType = true, nftables.TypeInetService
		s.blockUsed = dynamic(setBlockUsed, endpoints(2), room(count), longest)
		t.set(s.block)
		t.set(s.blockUsed)
	}
}

// ages are those that a mapping may be in when an outbound packet comes.
func (s *state) ages() []age {
	if s.replied == nil {
		return []age{s.oneWay}
	}
	return []age{s.stream, s.oneWay}
}

// loadKey loads the key of out from an outbound packet.
func (s *state) loadKey() []expr.Any {
	return join(load(source, inside), load(s.from, inside+1), s.loadRemote(destination, s.to, remote, s.outLen-2))
}

// loadRemote loads n fields of the remote transport address.
func (s *state) loadRemote(address, port field, to reg, n int) []expr.Any {
	var exprs []expr.Any
	if n >= 1 {
		exprs = append(exprs, load(address, to))
	}
	if n >= 2 {
		exprs = append(exprs, s.remotePort(port, to+1))
	}
	return exprs
}

// lookup finds the key in a map, and leaves the data at a register; the rule
// ends where it finds none.
func lookup(in *nftables.Set, key, data reg) expr.Any {
	return &expr.Lookup{
		SetID: in.ID, SetName: in.Name, SourceRegister: key.number(),
		IsDestRegSet: true, DestRegister: data.number(),
	}
}

// member ends the rule where the key is not in the set.
func member(of *nftables.Set, key reg) expr.Any {
	return &expr.Lookup{SetID: of.ID, SetName: of.Name, SourceRegister: key.number()}
}

// notMember ends the rule where the key is in the set. Kernel 6.1 refuses this
// for maps.
func notMember(of *nftables.Set, key reg) expr.Any {
	return &expr.Lookup{SetID: of.ID, SetName: of.Name, SourceRegister: key.number(), Invert: true}
}

// put adds an element, and leaves one that is there as it is.
func put(to *nftables.Set, key, data reg) expr.Any {
	return dynset(to, unix.NFT_DYNSET_OP_ADD, key, data)
}

// refresh restarts an element's timeout, and adds it where it is missing.
func refresh(in *nftables.Set, key, data reg) expr.Any {
	return dynset(in, unix.NFT_DYNSET_OP_UPDATE, key, data)
}

// refreshFor is refresh with a timeout that may be another than the set's.
func refreshFor(in *nftables.Set, key, data reg, timeout time.Duration) expr.Any {
	d := dynset(in, unix.NFT_DYNSET_OP_UPDATE, key, data).(*expr.Dynset)
	if timeout != in.Timeout {
		d.Timeout = timeout
	}
	return d
}

// opDelete is NFT_DYNSET_OP_DELETE, which x/sys/unix lacks.
const opDelete = 2

// remove takes an element away, if it is there.
func remove(from *nftables.Set, key, data reg) expr.Any {
	return dynset(from, opDelete, key, data)
}

func dynset(s *nftables.Set, op uint32, key, data reg) expr.Any {
	d := &expr.Dynset{SetID: s.ID, SetName: s.Name, Operation: op, SrcRegKey: key.number()}
	if s.IsMap {
		d.SrcRegData = data.number()
	}
	return d
}

// claim takes what a key stands for, an external port or a block, and ends the
// rule where it is taken. The test and the taking are one: whichever packet adds
// the element passes its limit of one packet, and no other does, on no other
// processor, for as long as the element lives.
func claim(in *nftables.Set, key reg) expr.Any {
	d := dynset(in, unix.NFT_DYNSET_OP_ADD, key, 0).(*expr.Dynset)
	d.Exprs = []expr.Any{once()}
	return d
}

// keepClaim restarts the timeout of a claim. It always ends the rule, since the
// limit was used up by the claim, and so must be its last expression.
func keepClaim(in *nftables.Set, key reg, timeout time.Duration) expr.Any {
	d := refreshFor(in, key, 0, timeout).(*expr.Dynset)
	d.Exprs = []expr.Any{once()}
	return d
}

// once lets one packet pass a week, longer than the longest timeout.
func once() *expr.Limit {
	return &expr.Limit{Type: expr.LimitTypePkts, Rate: 1, Unit: expr.LimitTimeWeek, Burst: 1}
}

const _ = uint(7*24*time.Hour - nat.MaxTimeout) // does not compile if the week is shorter
