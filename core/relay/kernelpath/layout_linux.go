package kernelpath

import (
	"encoding/binary"
	"net/netip"

	"github.com/cilium/ebpf"
)

// What the maps hold, as the program reads it. Addresses and ports are in the network's
// order.

// flowKey is what a datagram is known by. Its first twelve bytes are as they follow
// each other in a datagram without IP options.
type flowKey struct {
	Source, Destination         [4]byte
	SourcePort, DestinationPort [2]byte
	// Number is the channel's of a client's datagram, 0 of a peer's.
	Number [2]byte
	_      [2]byte
}

// flowValue is what becomes of it.
type flowValue struct {
	Expires                     uint64 // CLOCK_MONOTONIC, nanoseconds
	Source, Destination         [4]byte
	SourcePort, DestinationPort [2]byte
	// Number is the channel's by which it goes on to a client; 0: it goes to a peer, without.
	Number [2]byte
	// Relay says that the peer is a relayed address of ours.
	Relay uint16
	// From and To are the paths to where it comes from and to where it goes.
	From, To uint32
}

// Offsets in a flowValue.
const (
	flowExpires = 0
	flowSource  = 8
	flowPorts   = 16
	flowNumber  = 20
	flowRelay   = 22
	flowFrom    = 24
	flowTo      = 28
)

// pathValue is how an address is reached from one of ours.
type pathValue struct {
	Interface uint32
	MTU       uint32 // 0: nothing goes this way
	TTL       uint32
	// NextHop is whose neighbour's address frames get; the zero value: the kernel asks its
	// tables for each datagram.
	NextHop [4]byte
}

// Offsets in a pathValue.
const (
	pathInterface = 0
	pathMTU       = 4
	pathTTL       = 8
	pathNextHop   = 12
)

// remoteKey finds a path by its ends.
type remoteKey struct{ Remote, Local [4]byte }

// settings are what the program has to know besides.
type settings struct {
	Listen [4]byte
	Port   [2]byte
	_      [2]byte
	// Narrowed counts what the program has learned of paths that are narrower than was
	// thought.
	Narrowed uint64
}

// Offsets in settings.
const (
	settingsListen   = 0
	settingsPort     = 4
	settingsNarrowed = 8
)

// counters are what one processor has passed on.
type counters struct{ ToPeers, ToPeersBytes, ToClients, ToClientsBytes uint64 }

// Offsets in counters.
const (
	countersToPeers   = 0
	countersToClients = 16
)

const (
	// maxFlows is two for each channel. Memory is taken as there are flows.
	maxFlows = 1 << 20
	maxPaths = 1 << 16
	// scratchSize is the longest payload that is moved, and the header before it.
	scratchSize = 2048
	maxMoved    = scratchSize - 12
)

// maps are those of one server.
type maps struct {
	flows, paths, remotes, settings, counters, scratch *ebpf.Map
}

// noPrealloc is BPF_F_NO_PREALLOC.
const noPrealloc = 1

func newMaps() (m maps, err error) {
	for _, s := range []struct {
		to   **ebpf.Map
		spec ebpf.MapSpec
	}{
		{&m.flows, ebpf.MapSpec{Name: "relay_flows", Type: ebpf.Hash, KeySize: 16, ValueSize: 32, MaxEntries: maxFlows, Flags: noPrealloc}},
		{&m.paths, ebpf.MapSpec{Name: "relay_paths", Type: ebpf.Array, KeySize: 4, ValueSize: 16, MaxEntries: maxPaths}},
		{&m.remotes, ebpf.MapSpec{Name: "relay_remotes", Type: ebpf.Hash, KeySize: 8, ValueSize: 4, MaxEntries: maxPaths, Flags: noPrealloc}},
		{&m.settings, ebpf.MapSpec{Name: "relay_settings", Type: ebpf.Array, KeySize: 4, ValueSize: 16, MaxEntries: 1}},
		{&m.counters, ebpf.MapSpec{Name: "relay_counters", Type: ebpf.PerCPUArray, KeySize: 4, ValueSize: 32, MaxEntries: 1}},
		{&m.scratch, ebpf.MapSpec{Name: "relay_scratch", Type: ebpf.PerCPUArray, KeySize: 4, ValueSize: scratchSize, MaxEntries: 1}},
	} {
		if *s.to, err = ebpf.NewMap(&s.spec); err != nil {
			m.close()
			return maps{}, err
		}
	}
	return m, nil
}

func (m *maps) close() {
	for _, one := range []*ebpf.Map{m.flows, m.paths, m.remotes, m.settings, m.counters, m.scratch} {
		_ = one.Close() // nil is closed already
	}
}

// ports of a datagram, in the network's order.
func port(p uint16) (b [2]byte) {
	binary.BigEndian.PutUint16(b[:], p)
	return b
}

func keyOf(from, to netip.AddrPort, number uint16) flowKey {
	return flowKey{Source: from.Addr().As4(), Destination: to.Addr().As4(), SourcePort: port(from.Port()), DestinationPort: port(to.Port()), Number: port(number)}
}
