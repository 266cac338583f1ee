package witness

import (
	"fmt"
	"slices"
	"time"
)

// Word is what the programs on two hosts say of a stretch of time: how many bytes of
// payload of each arrived at the other.
type Word struct{ AToB, BToA uint64 }

// Opaque judges the path of two hosts of which one or both reach the relay by TLS,
// so that the bytes which leave one are not those that enter the other. What arrived
// is then the programs' word, and how is read off the packets since a time (zero:
// ever) until another one (excluded; zero: open):
//
//   - It is Direct if any packet of either host entered a host that is no server, or
//     came from one: that may have been the payload.
//   - It is Relay if all that arrived at either came from servers, and if as many
//     bytes as the programs speak of left the one host for the relay and entered the
//     other one from there.
//   - It is None if nothing arrived by their word, or if less than that went over the
//     relay: then their word is not true.
//
// Packets that entered no host, such as checks that a firewall dropped, carried
// nothing. why says what it was. It fails with ErrBlind if nothing was captured at
// one of the hosts.
func Opaque(packets []Packet, scene Scene, a, b string, w Word, since, until time.Time) (path Path, why string, err error) {
	if err := sees(packets, a, b); err != nil {
		return None, "", err
	}
	within := func(at time.Time) bool { return !at.Before(since) && (until.IsZero() || at.Before(until)) }
	for _, t := range Traces(packets, scene) {
		from, to := t.First(), t.Last()
		if !t.Arrived || !within(from.At) || !slices.Contains(scene.Hosts, from.Point.Node) {
			continue
		}
		ours := func(h Hop) bool { return h.Point.Node == a || h.Point.Node == b }
		if ours(from) && !scene.isServer(to.Dst.Addr()) || ours(to) && !scene.isServer(from.Src.Addr()) {
			if ours(from) && ours(to) && from.Point.Node == to.Point.Node {
				continue // to itself
			}
			return Direct, fmt.Sprintf("%s of %s entered %s, which is no server's doing: %v", t.Summary, from.Point.Node, to.Point.Node, from.Addresses), nil
		}
	}
	if w == (Word{}) {
		return None, "nothing arrived, by what the programs say", nil
	}
	for _, way := range []struct {
		from, to string
		said     uint64
	}{{a, b, w.AToB}, {b, a, w.BToA}} {
		out, in := served(packets, scene, way.from, Out, within), served(packets, scene, way.to, In, within)
		if out < way.said || in < way.said {
			return None, fmt.Sprintf("%d bytes of %s are said to have arrived at %s, but %d left for the relay and %d came from it",
				way.said, way.from, way.to, out, in), nil
		}
	}
	return Relay, "all that arrived came from servers, and the relay had it all", nil
}

// served counts the bytes of payload between a host and the relay, in a direction.
func served(packets []Packet, scene Scene, host string, d Direction, within func(time.Time) bool) (n uint64) {
	for _, p := range packets {
		far := p.Dst
		if d == In {
			far = p.Src
		}
		if p.Point.Node == host && p.Direction == d && within(p.At) && scene.isRelay(far.Addr()) {
			n += payloadSize(p)
		}
	}
	return n
}
