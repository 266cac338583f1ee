package peer

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"p2pmodel/core/punch"
	"p2pmodel/core/rendezvous"
)

func candidate(k punch.Kind, addr string) punch.Candidate {
	return punch.Candidate{Kind: k, Addr: netip.MustParseAddrPort(addr), Priority: punch.Priority(k, 0)}
}

var sampleOffer = offer{Instance: 99, Generation: 3, RTT: 45 * time.Millisecond, Features: featureExtended, Candidates: []punch.Candidate{
	candidate(punch.Host, "192.168.1.2:5000"),
	candidate(punch.Host, "[2001:db8::1]:5000"),
	candidate(punch.ServerReflexive, "198.18.1.1:40000"),
	candidate(punch.Relayed, "198.18.0.3:50001"),
}}

// extendedOffer has what sampleOffer has, and extensions.
var extendedOffer = func() offer {
	o := sampleOffer
	o.Extensions = []extension{{Kind: 200, Value: []byte{1, 2, 3}}, {Kind: 7}}
	return o
}()

func TestOfferRoundTrip(t *testing.T) {
	for _, o := range []offer{sampleOffer, extendedOffer, {Generation: 1}} {
		got, err := decodeOffer(o.encode())
		if err != nil || !reflect.DeepEqual(got, o) {
			t.Errorf("offer %+v came back as %+v, %v", o, got, err)
		}
	}
	long := offer{Generation: 1}
	for range maxCandidates + 5 {
		long.Candidates = append(long.Candidates, candidate(punch.Host, "[2001:db8::1]:5000"))
	}
	for k := range maxExtensions + 2 {
		long.Extensions = append(long.Extensions, extension{Kind: extensionKind(k), Value: make([]byte, maxExtended/maxExtensions-extensionHeader)})
	}
	b := long.encode()
	if got, err := decodeOffer(b); err != nil || len(got.Candidates) != maxCandidates || len(got.Extensions) != maxExtensions {
		t.Errorf("%d candidates and %d extensions: %d and %d arrive (%v), want the first %d and %d",
			len(long.Candidates), len(long.Extensions), len(got.Candidates), len(got.Extensions), err, maxCandidates, maxExtensions)
	}
	if len(b) > rendezvous.MaxOffer {
		t.Errorf("the longest offer has %d bytes, the rendezvous takes %d", len(b), rendezvous.MaxOffer)
	}
}

func TestMalformedOffers(t *testing.T) {
	whole := sampleOffer.encode()
	with := func(addr string) []byte {
		return offer{Candidates: []punch.Candidate{candidate(punch.Host, addr)}}.encode()
	}
	change := func(at int, to byte) []byte {
		b := append([]byte(nil), whole...)
		b[at] = to
		return b
	}
	rows := map[string][]byte{
		"empty":              nil,
		"another version":    change(0, 9),
		"too many":           change(offerHeader-1, maxCandidates+1),
		"one more announced": change(offerHeader-1, 5),
		"one less announced": change(offerHeader-1, 3),
		"unknown kind":       change(offerHeader, 7<<5|4),
		"odd address size":   change(offerHeader, 5),
		"priority 0":         offer{Candidates: []punch.Candidate{{Addr: netip.MustParseAddrPort("192.0.2.1:1")}}}.encode(),
		"port 0":             with("192.0.2.1:0"),
		"unspecified":        with("0.0.0.0:1"),
		"multicast":          with("224.0.0.1:1"),
		"multicast of IPv6":  with("[ff02::1]:1"),
		"broadcast":          with("255.255.255.255:1"),
	}
	extended := func(list ...byte) []byte { return append(append([]byte(nil), whole...), list...) }
	rows["extension without a length"] = extended(7, 0)
	rows["extension that ends early"] = extended(7, 0, 2, 1)
	rows["one extension twice"] = extended(7, 0, 0, 7, 0, 0)
	rows["too many bytes of extensions"] = extended(append([]byte{7, 1, 0}, make([]byte, 256)...)...)
	for cut := range len(whole) {
		if _, err := decodeOffer(whole[:cut]); err == nil {
			t.Errorf("offer cut after %d of %d bytes is accepted", cut, len(whole))
		}
	}
	for name, b := range rows {
		if o, err := decodeOffer(b); err == nil {
			t.Errorf("%s: accepted as %+v", name, o)
		}
	}
}

// FuzzOffer: what is accepted is written back the same.
func FuzzOffer(f *testing.F) {
	f.Add(sampleOffer.encode())
	f.Add(extendedOffer.encode())
	f.Add([]byte{})
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 1, 4})
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := decodeOffer(b)
		if err != nil {
			return
		}
		again, err := decodeOffer(o.encode())
		if err != nil || !reflect.DeepEqual(again, o) {
			t.Errorf("%x is read as %+v, written and read as %+v (%v)", b, o, again, err)
		}
	})
}
