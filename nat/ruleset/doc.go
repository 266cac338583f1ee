//go:build linux

// Package ruleset gives a router of the laboratory a nat.Behavior, as stateless
// nftables rules of its network namespace. Rules are sent over netlink, all in
// one transaction; no process is started. Conntrack is not used: its NAT changes
// mappings when a peer's packet comes first, gives one external port to several
// hosts, and cannot express most behaviours. Kinds other than nat.KindRFC ask for
// just that, see below.
//
// # How it works
//
// A protocol (UDP, TCP, ICMP echo) has these sets in the kernel, and they are
// all its state. Elements expire by themselves after the behaviour's timeout,
// and packets refresh them.
//
//	out        inside [. remote]  → external            key as wide as the mapping axis
//	in         external           → the key of out      external ports are unique
//	used       external                                 who took a port first has it
//	filter     external . remote                        may enter; scope mapping
//	contacted  inside . remote                          may enter; scope endpoint
//
// and, where the behaviour needs them,
//
//	born       external                                 is not too old; never refreshed (rotate)
//	replied    external                                 a packet came in by it (stream)
//	block      inside address . external address → port the subscriber's block
//	block_used external address . port                  who took a block first has it
//
// Packets from inside are translated in the forward hook, where both interfaces
// are known and the router's own errors are made already; packets for an
// external address in prerouting, so that they are routed to where they go.
// Rules are expressions that look up and refresh the sets and rewrite the packet
// with its checksums. Render prints them with comments.
//
// Ports at a distance from each other (delta, parity) and ports of a block are
// sums, first + step × number. The rule machine does not add; see sum for how it
// is brought to.
//
// # What holds
//
//   - An external port belongs to one mapping, also when two processors make
//     mappings at one instant: taking a port is one atomic operation (see claim).
//   - Sequential ports are strictly consecutive, from the low end of the range,
//     over all hosts, or delta apart; the counter restarts with Install and Flush.
//     A new mapping tries 1024 ports at most; if all are taken its packet is
//     dropped, and the next packet tries further ones. A new block likewise. A
//     packet that finds the table full may take a block for nothing, until that
//     were idle.
//   - A port is taken for as long as the filter may have entries of it, also when
//     its mapping has ended before, by its age or under refresh=inbound.
//   - What enters by the outside interface and matches no mapping is dropped and
//     not answered. It never reaches the router's own stack, nor, whatever its
//     destination, an inside host. What is not translated does not leave.
//   - ICMP errors are translated both ways, hairpin included, and those that the
//     router makes itself; they refresh nothing. The checksum of the transport
//     header that they quote is not mended.
//   - Fragments are reassembled before translation; UDP without checksum stays
//     so. Quoted headers with IPv4 options are not translated: such errors are
//     dropped.
//
// # Timeouts
//
// Each protocol has its own; there is no TCP state. Elements are refreshed with
// the time that their mapping has just then, which for a stream is another.
// The kernel counts it in ticks (4 ms at 250 Hz): with 2 s, mappings were alive
// at 1995 ms and dead at 2010 ms (measured on Linux 6.18), and 100 ms is as
// exact. A dead element matches nothing, but counts towards the size of its set
// until the kernel collects it, about a second later: a full table has room a
// little later than its timeout says.
//
// # The kernel's own NAT
//
// A behaviour of another kind than nat.KindRFC is conntrack's masquerade, in the
// postrouting hook, with rules around it: in input, what no flow expects is dropped
// or accepted (early-inbound); in forward, only answers and errors about flows enter;
// behind the translation, nothing leaves that has not an external source. Masquerade
// takes the interface's first address. There is no hairpin.
//
// Its timeouts are whole seconds, the namespace's own, and set by Install. Install,
// Remove and Empty forget the flows, by conntrack's netlink messages, right after the
// rules are there. The kernel's limit of flows is one of the whole machine: a table
// size other than the default is a rule that counts flows (ct count) for each
// protocol. A flow for which no port is free is dropped by the kernel itself, where
// no rule counts it.
//
// # Limits
//
// full=evict is refused (ErrEviction). IPv4 only, on little-endian machines. Arbitrary pooling uses the packet mark.
// The router needs Sysctls. All was measured on Linux 6.18; nothing is used that
// 6.1 is known to refuse.
package ruleset
