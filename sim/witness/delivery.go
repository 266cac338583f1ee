package witness

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// ErrBlind is the error of a witness that saw nothing of a host: that nothing
// arrived cannot be concluded from it.
var ErrBlind = errors.New("the witness is blind")

// MinPayload is the size, in bytes, from which a datagram counts as payload.
// Shorter ones are keepalives and probes of one constant byte or word; equal
// ones say nothing about which of them arrived, and two programs may send the
// same by chance. Eight bytes are the least that a number makes unique.
const MinPayload = 8

// maxTransit is how long a packet may be on its way and still be recognised. It
// only keeps an arrival whose sending was not captured from being taken for that
// of a packet of old.
const maxTransit = time.Minute

// Scene is what the witness must know of a lab: who is there. It learns nothing
// else from the lab, and nothing at all from programs.
type Scene struct {
	// Hosts are the names of the nodes that are hosts, servers included; all
	// other nodes forward.
	Hosts []string
	// Relay and Rendezvous are the addresses of the servers: all that they have.
	Relay, Rendezvous []netip.Addr
}

func (s Scene) isRelay(a netip.Addr) bool { return slices.Contains(s.Relay, a.Unmap()) }

func (s Scene) isServer(a netip.Addr) bool {
	return s.isRelay(a) || slices.Contains(s.Rendezvous, a.Unmap())
}

// Addresses are those of a packet as seen at one place.
type Addresses struct{ Src, Dst netip.AddrPort }

func (a Addresses) String() string { return fmt.Sprintf("%v → %v", a.Src, a.Dst) }

// Digest identifies the bytes of a payload.
type Digest [16]byte

func (d Digest) String() string { return hex.EncodeToString(d[:]) }

func digest(b []byte) Digest {
	sum := sha256.Sum256(b)
	return Digest(sum[:])
}

// Delivery is what became of one datagram of payload.
type Delivery struct {
	From, To string
	// Sent is when it left From, Arrived when it entered To: zero if it did not.
	Sent, Arrived time.Time
	// Path is Direct or Relay. Of a lost datagram it is the one it was sent to.
	Path   Path
	Digest Digest
	// Payload is what was sent, without framing; shared with the Packet.
	Payload []byte
	// Sender and Receiver are the addresses as seen at the hosts; Receiver is
	// zero if it did not arrive.
	Sender, Receiver Addresses
	// Copies is how often it entered To: 0 if lost, more than 1 if the network
	// doubled it.
	Copies int
	// Repeat: From had sent the same bytes to To before.
	Repeat bool
}

// Lost reports whether the datagram did not arrive.
func (d Delivery) Lost() bool { return d.Arrived.IsZero() }

func (d Delivery) String() string {
	s := fmt.Sprintf("%s → %s, %d B %v, sent %s as %v", d.From, d.To, len(d.Payload), d.Path, d.Sent.Format("15:04:05.000"), d.Sender)
	if d.Lost() {
		return s + ", lost"
	}
	return fmt.Sprintf("%s, arrived after %v as %v", s, d.Arrived.Sub(d.Sent), d.Receiver)
}

// sighting is a datagram of payload at a host.
type sighting struct {
	at        time.Time
	addresses Addresses
	wrapping  wrapping
	payload   []byte
}

// goal is whom a datagram is meant for, as its sender says.
type goal struct {
	dst      netip.AddrPort
	wrapping wrapping
}

func (s sighting) goal() goal { return goal{s.addresses.Dst, s.wrapping} }

// key is what the sending and the arrival of a datagram share. A datagram that
// was sent to a server arrives from one, and any other does not.
type key struct {
	digest Digest
	served bool
}

// sightings is the payload that left or entered hosts.
type sightings map[string]*[2]map[key][]sighting // by host, and Direction

// observe collects the payload at all hosts of a scene.
func observe(packets []Packet, scene Scene) sightings {
	all := sightings{}
	for _, h := range scene.Hosts {
		all[h] = &[2]map[key][]sighting{{}, {}}
	}
	for _, p := range packets {
		host := all[p.Point.Node]
		if host == nil || p.Payload == nil {
			continue
		}
		far := p.Dst.Addr()
		if p.Direction == In {
			far = p.Src.Addr()
		}
		payload, around := p.Payload, wrapping{}
		if scene.isRelay(far) {
			if inner, w, ok := unwrap(payload); ok {
				payload, around = inner, w
			}
		}
		if _, ok := parseSTUN(payload); ok || len(payload) < MinPayload {
			continue
		}
		k := key{digest(payload), scene.isServer(far)}
		host[p.Direction][k] = append(host[p.Direction][k], sighting{p.At, Addresses{p.Src, p.Dst}, around, payload})
	}
	return all
}

// Deliveries gives every datagram of payload that one of two hosts sent to the
// other, in order of sending. Payload is known by its bytes: those that leave
// one host and enter the other, whatever TURN framing either side puts around
// them. STUN messages are no payload, nor are datagrams below MinPayload.
//
// A datagram that entered no host is taken as meant for the other host if it
// went to an address under which that host was reached, or if the two are the
// only hosts beside servers. What is sent to the rendezvous and does not enter
// the other host is between the program and its rendezvous.
//
// It fails with ErrBlind if nothing was captured at one of the hosts.
func Deliveries(packets []Packet, scene Scene, a, b string) ([]Delivery, error) {
	list, err := DeliveriesOf(packets, scene, [][2]string{{a, b}})
	if err != nil {
		return nil, err
	}
	return list[0], nil
}

// DeliveriesOf gives the Deliveries of several pairs of hosts, each in its place. Of a
// mesh every datagram is read once, and not once for each pair.
func DeliveriesOf(packets []Packet, scene Scene, pairs [][2]string) ([][]Delivery, error) {
	all := make([][]Delivery, len(pairs))
	for _, pair := range pairs {
		if err := sees(packets, pair[0], pair[1]); err != nil {
			return nil, err
		}
		if !slices.Contains(scene.Hosts, pair[0]) || !slices.Contains(scene.Hosts, pair[1]) {
			return nil, fmt.Errorf("witness: %s and %s are not both hosts of the scene (%s)", pair[0], pair[1], strings.Join(scene.Hosts, ", "))
		}
	}
	packets = Reassemble(packets)
	seen := observe(packets, scene)
	entered := seen.entered(scene)
	only := len(peers(packets, scene)) <= 2
	for i, pair := range pairs {
		a, b := pair[0], pair[1]
		all[i] = append(oneWay(seen, entered, scene, a, b, only), oneWay(seen, entered, scene, b, a, only)...)
		slices.SortFunc(all[i], bySending)
	}
	return all, nil
}

// sees fails unless something was captured at each of the hosts.
func sees(packets []Packet, hosts ...string) error {
	for _, h := range hosts {
		if !slices.ContainsFunc(packets, func(p Packet) bool { return p.Point.Node == h }) {
			return fmt.Errorf("%w: none of %d captured packets was seen at host %s; is its interface captured, and did its program start?", ErrBlind, len(packets), h)
		}
	}
	return nil
}

// peers are the hosts of which something was captured and that do not own an
// address of a server.
func peers(packets []Packet, scene Scene) map[string]bool {
	servers := map[string]bool{} // by host seen
	for _, p := range packets {
		own := p.Src
		if p.Direction == In {
			own = p.Dst
		}
		if slices.Contains(scene.Hosts, p.Point.Node) {
			servers[p.Point.Node] = servers[p.Point.Node] || scene.isServer(own.Addr())
		}
	}
	maps.DeleteFunc(servers, func(_ string, server bool) bool { return server })
	return servers
}

// bySending orders deliveries by time; what was sent at one time comes in an order
// that does not change from call to call.
func bySending(x, y Delivery) int {
	return cmp.Or(x.Sent.Compare(y.Sent), cmp.Compare(x.From, y.From), cmp.Compare(x.Path, y.Path),
		slices.Compare(x.Digest[:], y.Digest[:]))
}

// oneWay gives the deliveries from one host to another. only: there are no other
// peers.
func oneWay(seen sightings, entered map[key][]string, scene Scene, from, to string, only bool) []Delivery {
	type lost struct {
		Delivery
		goal goal
	}
	var result []Delivery
	var open []lost // perhaps meant for somebody else
	reached := map[goal]bool{}
	for k, sent := range seen[from][Out] {
		arrived := seen[to][In][k]
		third := slices.ContainsFunc(entered[k], func(host string) bool { return host != from && host != to })
		if third && len(arrived) == 0 {
			continue
		}
		for i, d := range pair(k, sent, arrived) {
			d.From, d.To = from, to
			switch {
			case !d.Lost():
				reached[sent[i].goal()] = true
				result = append(result, d)
			case !third:
				open = append(open, lost{d, sent[i].goal()})
			}
		}
	}
	// Where the other host's payload comes from is where it can be reached, too.
	for k, arrived := range seen[from][In] {
		if _, ok := seen[to][Out][k]; ok {
			for _, s := range arrived {
				reached[goal{s.addresses.Src, s.wrapping}] = true
			}
		}
	}
	for _, d := range open {
		server := scene.isServer(d.Sender.Dst.Addr()) && !scene.isRelay(d.Sender.Dst.Addr())
		if !server && (only || reached[d.goal]) {
			result = append(result, d.Delivery)
		}
	}
	slices.SortFunc(result, bySending)
	before := map[Digest]bool{}
	for i := range result {
		result[i].Repeat = before[result[i].Digest]
		before[result[i].Digest] = true
	}
	return result
}

// entered gives the hosts that each payload entered. Servers are none of them: what
// a server receives is not at its goal yet.
func (seen sightings) entered(scene Scene) map[key][]string {
	hosts := map[key][]string{}
	for host, s := range seen {
		for k, list := range s[In] {
			if slices.ContainsFunc(list, func(s sighting) bool { return !scene.isServer(s.addresses.Dst.Addr()) }) {
				hosts[k] = append(hosts[k], host)
			}
		}
	}
	return hosts
}

// pair matches sendings and arrivals of equal bytes, both in order of time, one
// to one and in order. Where some were lost, the arrivals are taken for those of
// the latest sendings that they can be of: the shortest times on the way. More
// arrivals than sendings are copies.
func pair(k key, sent, arrived []sighting) []Delivery {
	result := make([]Delivery, len(sent))
	for i, s := range sent {
		result[i] = Delivery{Sent: s.at, Payload: s.payload, Digest: k.digest, Path: Direct, Sender: s.addresses}
		if k.served {
			result[i].Path = Relay
		}
	}
	arrive := func(i int, s sighting) {
		d := &result[i]
		if d.Copies++; d.Copies == 1 || s.at.Before(d.Arrived) {
			d.Arrived, d.Receiver = s.at, s.addresses
		}
	}
	next := len(sent) - 1
	for _, s := range slices.Backward(arrived) {
		for next >= 0 && sent[next].at.After(s.at) {
			next--
		}
		if next >= 0 && s.at.Sub(sent[next].at) <= maxTransit {
			arrive(next, s)
			next--
			continue
		}
		for i, e := range slices.Backward(sent) {
			if !e.at.After(s.at) {
				if result[i].Copies > 0 {
					arrive(i, s)
				}
				break
			}
		}
	}
	return result
}
