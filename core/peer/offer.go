package peer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"p2pmodel/core/punch"
)

// offer is what a peer tells others of itself through the rendezvous: where it
// may be reached. A later offer replaces an earlier one whole. The rendezvous
// vouches for offers; one that lies can only make peers send a bounded number of
// small, paced checks to wrong addresses, because a check is proved by keys that
// the rendezvous does not have.
type offer struct {
	// Instance is drawn when a peer's machine is made: another one means that
	// the peer has forgotten all sessions.
	Instance uint64
	// Generation counts the offers of an instance, from 1.
	Generation uint32
	// RTT is the peer's round trip to the rendezvous; zero: unknown. The sum of
	// both sides' bounds the round trip between the peers wherever the way over
	// the rendezvous is not the shorter one, and makes a first estimate.
	RTT time.Duration
	// Features are what the peer understands. Both sides use what both have.
	Features features
	// Candidates, at most maxCandidates.
	Candidates []punch.Candidate
	// Extensions, at most maxExtensions, each kind once. A kind that a reader does
	// not know it leaves out.
	Extensions []extension
}

// features is a set of what a peer understands beyond the standards.
type features uint16

const (
	// featureExtended: the checks are those of punch.Config.Extended.
	featureExtended features = 1 << iota
)

func (f features) has(all features) bool { return f&all == all }

// extension is one more thing that a peer tells of itself.
type extension struct {
	Kind  extensionKind
	Value []byte
}

// extensionKind says what an extension is about.
type extensionKind byte

// extension gives the value of the extension of a kind; false: there is none.
func (o offer) extension(k extensionKind) ([]byte, bool) {
	for _, e := range o.Extensions {
		if e.Kind == k {
			return e.Value, true
		}
	}
	return nil, false
}

const (
	offerVersion = 2
	offerHeader  = 1 + 8 + 4 + 2 + 2 + 1
	// maxCandidates and maxExtended keep the longest offer below
	// rendezvous.MaxOffer: a candidate has 23 bytes at most.
	maxCandidates = 24
	// maxExtended is how many bytes all extensions take, with their headers of
	// three bytes.
	maxExtended   = 256
	maxExtensions = 16
)

// Errors of offers. Offers come from the network; none of these is fatal.
var (
	errOffer        = errors.New("malformed offer")
	errOfferVersion = errors.New("offer of another version")
)

// encode writes an offer.
func (o offer) encode() []byte {
	candidates := o.Candidates[:min(len(o.Candidates), maxCandidates)]
	b := make([]byte, 0, offerHeader+len(candidates)*(7+16)+maxExtended)
	b = append(b, offerVersion)
	b = binary.BigEndian.AppendUint64(b, o.Instance)
	b = binary.BigEndian.AppendUint32(b, o.Generation)
	b = binary.BigEndian.AppendUint16(b, uint16(min(o.RTT.Milliseconds(), math.MaxUint16)))
	b = binary.BigEndian.AppendUint16(b, uint16(o.Features))
	b = append(b, byte(len(candidates)))
	for _, c := range candidates {
		addr := c.Addr.Addr().Unmap()
		size := byte(4)
		if addr.Is6() {
			size = 16
		}
		b = append(b, byte(c.Kind)<<5|size)
		b = binary.BigEndian.AppendUint32(b, c.Priority)
		b = binary.BigEndian.AppendUint16(b, c.Addr.Port())
		b = append(b, addr.AsSlice()...)
	}
	room := maxExtended
	for _, e := range o.Extensions[:min(len(o.Extensions), maxExtensions)] {
		if room -= extensionHeader + len(e.Value); room < 0 {
			break // what comes first matters most
		}
		b = append(b, byte(e.Kind))
		b = binary.BigEndian.AppendUint16(b, uint16(len(e.Value)))
		b = append(b, e.Value...)
	}
	return b
}

// decodeOffer reads an offer.
func decodeOffer(b []byte) (offer, error) {
	if len(b) < offerHeader {
		return offer{}, fmt.Errorf("%w: %d bytes, want at least %d", errOffer, len(b), offerHeader)
	}
	if b[0] != offerVersion {
		return offer{}, fmt.Errorf("%w: %d, want %d", errOfferVersion, b[0], offerVersion)
	}
	o := offer{
		Instance:   binary.BigEndian.Uint64(b[1:]),
		Generation: binary.BigEndian.Uint32(b[9:]),
		RTT:        time.Duration(binary.BigEndian.Uint16(b[13:])) * time.Millisecond,
	}
	o.Features = features(binary.BigEndian.Uint16(b[15:]))
	count := int(b[17])
	if count > maxCandidates {
		return offer{}, fmt.Errorf("%w: %d candidates, at most %d", errOffer, count, maxCandidates)
	}
	b = b[offerHeader:]
	for i := range count {
		c, rest, err := decodeCandidate(b)
		if err != nil {
			return offer{}, fmt.Errorf("candidate %d of %d: %w", i+1, count, err)
		}
		o.Candidates = append(o.Candidates, c)
		b = rest
	}
	var err error
	o.Extensions, err = decodeExtensions(b)
	return o, err
}

const extensionHeader = 1 + 2

// decodeExtensions reads what follows the candidates.
func decodeExtensions(b []byte) (list []extension, err error) {
	if len(b) > maxExtended {
		return nil, fmt.Errorf("%w: %d bytes of extensions, at most %d", errOffer, len(b), maxExtended)
	}
	for len(b) > 0 {
		if len(b) < extensionHeader || len(b) < extensionHeader+int(binary.BigEndian.Uint16(b[1:])) {
			return nil, fmt.Errorf("%w: an extension ends early", errOffer)
		}
		if len(list) == maxExtensions {
			return nil, fmt.Errorf("%w: more than %d extensions", errOffer, maxExtensions)
		}
		e := extension{Kind: extensionKind(b[0])}
		size := extensionHeader + int(binary.BigEndian.Uint16(b[1:]))
		if slices.ContainsFunc(list, func(o extension) bool { return o.Kind == e.Kind }) {
			return nil, fmt.Errorf("%w: extension %d twice", errOffer, e.Kind)
		}
		e.Value = bytes.Clone(b[extensionHeader:size])
		if size == extensionHeader {
			e.Value = nil
		}
		list, b = append(list, e), b[size:]
	}
	return list, nil
}

func decodeCandidate(b []byte) (c punch.Candidate, rest []byte, err error) {
	const fixed = 1 + 4 + 2
	if len(b) < fixed {
		return c, nil, fmt.Errorf("%w: it ends early", errOffer)
	}
	c.Kind = punch.Kind(b[0] >> 5)
	size := int(b[0] & 31)
	if (size != 4 && size != 16) || len(b) < fixed+size || c.Kind > punch.Relayed {
		return c, nil, fmt.Errorf("%w: kind %d, address of %d bytes, %d bytes left", errOffer, c.Kind, size, len(b)-fixed)
	}
	c.Priority = binary.BigEndian.Uint32(b[1:])
	if c.Priority == 0 || c.Priority > math.MaxInt32 {
		return c, nil, fmt.Errorf("%w: priority %d", errOffer, c.Priority)
	}
	addr, _ := netip.AddrFromSlice(b[fixed : fixed+size])
	c.Addr = netip.AddrPortFrom(addr, binary.BigEndian.Uint16(b[5:]))
	if addr.Is4In6() || !usable(c.Addr) {
		return c, nil, fmt.Errorf("%w: address %s is nobody's", errOffer, c.Addr)
	}
	return c, b[fixed+size:], nil
}

// usable leaves out what no peer can be reached at and what would have us send
// to many at once. Loopback is usable: peers may live on one machine.
func usable(a netip.AddrPort) bool {
	addr := a.Addr()
	return a.Port() != 0 && !addr.IsUnspecified() && !addr.IsMulticast() && addr != broadcast
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})
