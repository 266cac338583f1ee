//go:build linux

package ruleset

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"p2pmodel/nat"
)

// PortalMark is the packet mark of connections that the portal is to answer in the
// place of those that they are for. The router has to take what has it for its
// own: `ip rule add fwmark MARK lookup TABLE`, `ip route add local default dev lo
// table TABLE`. The portal's socket is bound to port 80 of any address and has
// IP_TRANSPARENT, so that it answers with the address that was asked; nothing is
// translated, and nothing tracked.
//
// It is more than any number of an external address, which stands in the mark
// where pooling is arbitrary.
const PortalMark = 0x10ca1

const setAdmitted = "admitted" // addresses that are logged in

const (
	chainPortal      = "portal"
	chainPortalGuard = "portal_guard"
)

// What the rules of a portal are called, and counted by.
const (
	redirected      = "its host is not logged in: the portal answers"
	deniedCaptive   = "its host is not logged in at the portal"
	deniedToCaptive = "the host that it is for is not logged in at the portal"
	portalOutside   = "the portal is for hosts inside"
)

// admittedSet is the set of those who are logged in. Packets do not change it, but
// it is a dynamic one: logins are no part of the fingerprint.
func admittedSet(p nat.Portal) *nftables.Set {
	return &nftables.Set{
		Name: setAdmitted, KeyType: nftables.TypeIPAddr, Size: nat.DefaultTableSize,
		Dynamic: true, HasTimeout: p.Session > 0, Timeout: p.Session,
	}
}

// portal adds the rules of the portal: before the firewall's own in the forward
// hook, and one before packets are routed.
func (f *firewall) portal(t *transaction) {
	f.admitted = admittedSet(f.Policy.Portal)
	t.set(f.admitted)
	unknown := func(host field) []expr.Any { return join(load(host, scratch), notMember(f.admitted, scratch)) }

	t.hook(chainPortal, nftables.ChainTypeFilter, nftables.ChainHookPrerouting, priorityPortal)
	t.rule(chainPortal, redirected,
		entersNotBy(f.Outside), match(ipProtocol, unix.IPPROTO_TCP), match(destinationPort, port(nat.PortalPort)...), unknown(source),
		&expr.Counter{}, immediate(scratch, binaryutil.NativeEndian.PutUint32(PortalMark)...),
		&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: scratch.number()})
	t.hook(chainPortalGuard, nftables.ChainTypeFilter, nftables.ChainHookInput, priorityFirewall)
	t.rule(chainPortalGuard, portalOutside,
		entersBy(f.Outside), match(ipProtocol, unix.IPPROTO_TCP), match(destinationPort, port(nat.PortalPort)...), drop(CauseEntering))

	f.refuseLeaving(t, chainFirewall, deniedCaptive, CausePortal, entersNotBy(f.Outside), unknown(source))
	f.refuseLeaving(t, chainFirewall, deniedToCaptive, CausePortal,
		entersNotBy(f.Outside), leavesNotBy(f.Outside), unknown(destination))
	f.refuseEntering(t, chainFirewall, deniedToCaptive, CausePortal,
		entersBy(f.Outside), leavesNotBy(f.Outside), unknown(destination))
}

// Admit logs an address in at the portal of the firewall in the namespace. Who is
// logged in begins a new session.
func Admit(conn *nftables.Conn, addr netip.Addr) error {
	if !addr.Is4() {
		return fmt.Errorf("admit: %v is not an IPv4 address", addr)
	}
	t := &transaction{table: tableNamed(firewallTable)}
	t.elements(admittedSet(nat.Portal{}), []nftables.SetElement{{Key: addr.AsSlice()}})
	if t.err != nil {
		return fmt.Errorf("admit %v: %w", addr, t.err)
	}
	add := t.steps[0]
	forget := add
	forget.kind, forget.flags = unix.NFT_MSG_DELSETELEM, 0
	// What is there keeps its time: so it goes, and comes again. What is not there
	// cannot go: so it comes first.
	if err := send(conn.NetNS, t.table.Family, []step{add, forget, add}); err != nil {
		return fmt.Errorf("admit %v (is there a firewall with a portal?): %w", addr, err)
	}
	return nil
}

// Admitted gives the addresses that are logged in at the portal, and how long
// their sessions last; 0: for good.
func Admitted(conn *nftables.Conn) (map[netip.Addr]time.Duration, error) {
	elements, err := conn.GetSetElements(&nftables.Set{Table: tableNamed(firewallTable), Name: setAdmitted, KeyType: nftables.TypeIPAddr})
	if err != nil {
		return nil, fmt.Errorf("read who is logged in: %w", err)
	}
	admitted := make(map[netip.Addr]time.Duration)
	for _, e := range elements {
		if addr, ok := netip.AddrFromSlice(e.Key); ok {
			admitted[addr] = e.Expires
		}
	}
	return admitted, nil
}
