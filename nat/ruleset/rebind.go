//go:build linux

package ruleset

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Empty empties the tables of the namespace's NAT in one transaction: mappings
// and filters are forgotten, and their ports are free. Unlike Flush it leaves the
// rules as they are, and so the counters of sequential ports go on.
func Empty(conn *nftables.Conn) error {
	if tracked, err := isTracked(conn); err != nil || tracked {
		if err == nil {
			err = forgetFlows(conn.NetNS)
		}
		if err != nil {
			return fmt.Errorf("empty the NAT's tables: %w", err)
		}
		return nil
	}
	sets, err := conn.GetSets(tableNamed(natTable))
	if err != nil {
		return fmt.Errorf("empty the NAT's tables: list them: %w", err)
	}
	t := &transaction{table: tableNamed(natTable)}
	for _, s := range sets {
		if !s.Dynamic {
			continue
		}
		t.step("emptying set "+s.Name, unix.NFT_MSG_DELSETELEM, 0,
			text(unix.NFTA_SET_ELEM_LIST_TABLE, natTable), text(unix.NFTA_SET_ELEM_LIST_SET, s.Name))
	}
	if len(t.steps) == 0 {
		return errors.New("empty the NAT's tables: there is no NAT")
	}
	if err := send(conn.NetNS, t.table.Family, t.steps); err != nil {
		return fmt.Errorf("empty the NAT's tables: %w", err)
	}
	return nil
}

// rebindTries is how often Rebind reads the tables anew because traffic changed
// them meanwhile.
const rebindTries = 20

// Rebind ends the live mappings of inside addresses, of all if there are none, in
// one transaction, and returns them. Their external ports are closed at once,
// with their filters. They stay taken until they would have been idle for too long,
// as if somebody else had them, so that the next packet from inside gets another port, also where
// ports are preserved.
//
// Conntrack knows flows: each ends, and its port stays taken towards its remote.
func Rebind(conn *nftables.Conn, inside ...netip.Addr) ([]Mapping, error) {
	tracked, err := isTracked(conn)
	if err != nil {
		return nil, fmt.Errorf("rebind: %w", err)
	}
	if tracked {
		return rebindFlows(conn, inside)
	}
	var ended []Mapping
	for range rebindTries {
		all, err := Mappings(conn)
		if err != nil {
			return ended, fmt.Errorf("rebind: %w", err)
		}
		live := slices.DeleteFunc(all, func(m Mapping) bool {
			gone := slices.ContainsFunc(ended, m.same)
			return !gone && len(ended) > 0 || len(inside) > 0 && !slices.Contains(inside, m.Inside.Addr())
		})
		if len(live) == 0 {
			return ended, nil
		}
		sets, err := conn.GetSets(tableNamed(natTable))
		if err != nil {
			return ended, fmt.Errorf("rebind: list the tables: %w", err)
		}
		switch err := send(conn.NetNS, nftables.TableFamilyIPv4, endings(live, sets)); {
		case err == nil && len(ended) == 0:
			// Once more: a packet that was being translated meanwhile may have
			// brought one back.
			ended = live
		case err != nil && !errors.Is(err, unix.ENOENT): // some expired meanwhile
			return ended, fmt.Errorf("rebind: %w", err)
		}
	}
	return ended, fmt.Errorf("rebind: traffic changed the NAT's tables each of %d times that they were read", rebindTries)
}

// same reports whether two are one mapping: the same flow by the same port.
func (m Mapping) same(o Mapping) bool {
	return m.Protocol == o.Protocol && m.Inside == o.Inside && m.External == o.External && m.Remote == o.Remote
}

// endings are the steps that end mappings. The set of used ports is left alone.
func endings(live []Mapping, sets []*nftables.Set) []step {
	t := &transaction{table: tableNamed(natTable)}
	for _, p := range protocols {
		keys := map[string][][]byte{}
		add := func(set string, near, remote netip.AddrPort) {
			i := slices.IndexFunc(sets, func(s *nftables.Set) bool { return s.Name == p.name+"_"+set })
			if i < 0 {
				return
			}
			// Of a remote side without a port it does not say whether the set looks at
			// ports: those of an echo are 0.
			key := append(endpointKey(near), endpointKey(remote)...)
			keys[set] = append(keys[set], key[:sets[i].KeyType.Bytes])
		}
		var contacted []string // endpoints whose shared filter is gone already
		for _, m := range live {
			if m.Protocol != p.name {
				continue
			}
			add(setIn, m.External, m.Remote)
			add(setOut, m.Inside, m.Remote)
			for _, f := range m.Filter {
				add(setFilter, m.External, f.Remote)
				if key := m.Inside.String(); !slices.Contains(contacted, key) {
					add(setContacted, m.Inside, f.Remote)
				}
			}
			contacted = append(contacted, m.Inside.String())
		}
		for _, set := range []string{setFilter, setContacted, setIn, setOut} {
			for chunk := range slices.Chunk(keys[set], 256) {
				t.deletion(p.name+"_"+set, chunk)
			}
		}
	}
	return t.steps
}

// deletion deletes elements of a set.
func (t *transaction) deletion(set string, keys [][]byte) {
	var list []netlink.Attribute
	for _, key := range keys {
		list = append(list, t.nested(unix.NFTA_LIST_ELEM,
			t.nested(unix.NFTA_SET_ELEM_KEY, netlink.Attribute{Type: unix.NFTA_DATA_VALUE, Data: key})))
	}
	t.step("deleting from set "+set, unix.NFT_MSG_DELSETELEM, 0,
		text(unix.NFTA_SET_ELEM_LIST_TABLE, t.table.Name), text(unix.NFTA_SET_ELEM_LIST_SET, set),
		t.nested(unix.NFTA_SET_ELEM_LIST_ELEMENTS, list...))
}

// endpointKey is address . port as sets have them, four bytes each; zeros for none.
func endpointKey(a netip.AddrPort) []byte {
	var b [4]byte
	if a.IsValid() {
		b = a.Addr().As4()
	}
	return append(b[:], byte(a.Port()>>8), byte(a.Port()), 0, 0)
}
