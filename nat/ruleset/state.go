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
)

// Names of the sets that all protocols share.
const (
	setExternal = "external" // the external addresses
	setPool     = "pool"     // number → external address
	setErrors   = "icmp_errors"
)

// spare is how many elements more than mappings a set may have: the kernel
// collects expired elements once a second, and they count until then.
const spare = 4096

// filterEntries is how many remote sides all mappings of a protocol may have
// together, where the table is not larger.
const filterEntries = 65536

// state is the tables of one protocol, and the expressions that work on them.
// Registers have fixed places: 0–3 the key of out, 4–5 the external side, and
// 6–7 behind it the remote side of the filter. With the filter of an endpoint
// the remote side is in 2–3, behind the inside.
type state struct {
	protocol
	cfg                      Config
	out, in, used, filter    *nftables.Set
	outLen, remoteLen        int // registers: of out's key, of the filter's remote side
	perEndpoint, bothRefresh bool
}

const (
	inside   reg = 0 // address, port, and the remote side where mapping looks at it
	remote   reg = 2 // behind inside: address, port
	external reg = 4 // address, port
	stranger reg = 6 // behind external: address, port of the remote side
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
	s.bothRefresh = b.Refresh == nat.RefreshBoth
	dynamic := func(name string, key nftables.SetDatatype, size int) *nftables.Set {
		return &nftables.Set{
			Name: s.name + "_" + name, KeyType: key, Size: uint32(size),
			Dynamic: true, HasTimeout: true, Timeout: s.idle(b.Timeout),
		}
	}
	// The used ports bound the table. The others have room for what expired and
	// was not collected yet, so that they are never what is full.
	s.used = dynamic(setUsed, endpoints(2), b.TableSize)
	s.out = dynamic(setOut, endpoints(s.outLen), b.TableSize+spare)
	s.out.IsMap, s.out.DataType = true, endpoints(2)
	s.in = dynamic(setIn, endpoints(2), b.TableSize+spare)
	s.in.IsMap, s.in.DataType = true, endpoints(s.outLen)
	t.set(s.out)
	t.set(s.in)
	t.set(s.used)
	if s.remoteLen > 0 {
		name := setFilter
		if s.perEndpoint {
			name = setContacted
		}
		s.filter = dynamic(name, endpoints(2+s.remoteLen), max(filterEntries, b.TableSize)+spare)
		t.set(s.filter)
	}
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

func dynset(s *nftables.Set, op uint32, key, data reg) expr.Any {
	d := &expr.Dynset{SetID: s.ID, SetName: s.Name, Operation: op, SrcRegKey: key.number()}
	if s.IsMap {
		d.SrcRegData = data.number()
	}
	return d
}

// claim takes an external port for the flow, and ends the rule where it is
// taken. The test and the taking are one: whichever packet adds the element
// passes its limit of one packet, and no other does, on no other processor, for
// as long as the element lives.
func (s *state) claim() expr.Any {
	d := dynset(s.used, unix.NFT_DYNSET_OP_ADD, external, 0).(*expr.Dynset)
	d.Exprs = []expr.Any{once()}
	return d
}

// refreshClaim restarts the timeout of a taken port. It always ends the rule,
// since the limit was used up by the claim, and so must be its last expression.
func (s *state) refreshClaim() expr.Any {
	d := dynset(s.used, unix.NFT_DYNSET_OP_UPDATE, external, 0).(*expr.Dynset)
	d.Exprs = []expr.Any{once()}
	return d
}

// once lets one packet pass a week, longer than the longest timeout.
func once() *expr.Limit {
	return &expr.Limit{Type: expr.LimitTypePkts, Rate: 1, Unit: expr.LimitTimeWeek, Burst: 1}
}

const _ = uint(7*24*time.Hour - nat.MaxTimeout) // does not compile if the week is shorter
