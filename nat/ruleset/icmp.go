//go:build linux

package ruleset

import (
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// Chains that translate ICMP errors (RFC 5508 section 4).
const (
	errorsOutbound = "errors_outbound"
	errorsInbound  = "errors_inbound"
)

// errors are the ICMP types that quote a packet.
type icmpErrors struct {
	types *nftables.Set
}

func (e *icmpErrors) declare(t *transaction) {
	e.types = &nftables.Set{Name: setErrors, KeyType: nftables.TypeICMPType}
	var elements []nftables.SetElement
	for _, kind := range []byte{icmpUnreachable, icmpTimeExceeded, icmpParameterProblem} {
		elements = append(elements, nftables.SetElement{Key: []byte{kind}})
	}
	t.set(e.types, elements...)
}

// match matches errors that quote a packet whose header has no options.
func (e *icmpErrors) match() []expr.Any {
	return join(match(ipProtocol, protocolICMP), load(icmpType, scratch), member(e.types, scratch),
		match(quotedVersion, plainIPv4))
}

// errorRules translate ICMP errors. They refresh nothing (RFC 7857 section 5).
//
// The quoted header's own checksum is mended; as it stands in the part that the
// error's checksum covers, its change makes up for that of the address there.
// The checksum in the quoted transport header is left, as there may be none: an
// error need not quote more than 8 bytes of it.
func (s *state) errorRules(t *transaction) {
	// From inside about a packet that came in: it was for our external side.
	t.rule(errorsOutbound, "about an inbound "+s.name+" packet",
		s.quotedInbound(),
		load(quotedDestination, inside), load(s.quotedTo, inside+1),
		s.loadRemote(quotedSource, s.quotedFrom, remote, s.outLen-2),
		lookup(s.out, inside, external), s.young(),
		storeAddress(external, source),
		store(external, quotedDestination, quotedChecksum), store(external+1, s.quotedTo, icmpChecksum))

	// From outside about a packet that went out.
	t.rule(errorsInbound, "about an outbound "+s.name+" packet",
		s.quotedOutbound(),
		load(quotedSource, external), load(s.quotedFrom, external+1),
		lookup(s.in, external, inside), s.young(),
		storeAddress(inside, destination),
		store(inside, quotedSource, quotedChecksum), store(inside+1, s.quotedFrom, icmpChecksum),
		accept())
}
