//go:build linux

package ruleset

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"slices"
	"strings"

	"github.com/google/nftables"
)

// Fingerprint stands for all rules that forwarded packets meet in the namespace,
// ours and anybody's: tables, chains, rules, sets, and the elements of sets that
// packets do not change. Counters and mappings are no part of it, so that it
// stays the same for as long as nobody changes a rule. Two installations of one
// Config have the same. Tables of single devices are left out: links are cut
// with them.
func Fingerprint(conn *nftables.Conn) (string, error) {
	tables, err := conn.ListTables()
	if err != nil {
		return "", fmt.Errorf("fingerprint: list tables: %w", err)
	}
	tables = slices.DeleteFunc(tables, func(t *nftables.Table) bool { return t.Family == nftables.TableFamilyNetdev })
	slices.SortFunc(tables, func(a, b *nftables.Table) int {
		if a.Family != b.Family {
			return int(a.Family) - int(b.Family)
		}
		return strings.Compare(a.Name, b.Name)
	})
	sum := sha256.New()
	for _, t := range tables {
		if err := fingerprintTable(sum, conn, t); err != nil {
			return "", fmt.Errorf("fingerprint: table %s: %w", t.Name, err)
		}
	}
	tracked, err := isTracked(conn)
	if err != nil {
		return "", fmt.Errorf("fingerprint: %w", err)
	}
	if tracked {
		timeouts, err := readTimeouts(conn.NetNS)
		if err != nil {
			return "", fmt.Errorf("fingerprint: %w", err)
		}
		fmt.Fprintln(sum, timeouts)
	}
	return hex.EncodeToString(sum.Sum(nil)[:16]), nil
}

func fingerprintTable(sum hash.Hash, conn *nftables.Conn, table *nftables.Table) error {
	fmt.Fprintf(sum, "table %d %q %d\n", table.Family, table.Name, table.Flags)
	chains, err := conn.ListChainsOfTableFamily(table.Family)
	if err != nil {
		return fmt.Errorf("list chains: %w", err)
	}
	for _, c := range chains {
		if c.Table.Name != table.Name {
			continue
		}
		fmt.Fprintf(sum, "chain %q %q", c.Name, c.Type)
		if c.Hooknum != nil && c.Priority != nil {
			fmt.Fprintf(sum, " %d %d", *c.Hooknum, *c.Priority)
		}
		if c.Policy != nil {
			fmt.Fprintf(sum, " policy %d", *c.Policy)
		}
		fmt.Fprintln(sum)
	}
	rules, err := dumpRules(conn, table)
	if err != nil {
		return fmt.Errorf("list rules: %w", err)
	}
	for _, r := range rules {
		fmt.Fprintf(sum, "rule %q\n", r.chain)
		for _, e := range r.exprs {
			if e.name != "counter" {
				fmt.Fprintf(sum, "%s %x\n", e.name, e.data)
			}
		}
	}
	sets, err := conn.GetSets(table)
	if err != nil {
		return fmt.Errorf("list sets: %w", err)
	}
	for _, s := range sets {
		fmt.Fprintf(sum, "set %q %q %q %v %d %v %v\n", s.Name, s.KeyType.Name, s.DataType.Name, s.Timeout, s.Size, s.IsMap, s.Dynamic)
		if s.Dynamic {
			continue
		}
		elements, err := conn.GetSetElements(s)
		if err != nil {
			return fmt.Errorf("list set %s: %w", s.Name, err)
		}
		slices.SortFunc(elements, func(a, b nftables.SetElement) int { return bytes.Compare(a.Key, b.Key) })
		for _, e := range elements {
			fmt.Fprintf(sum, "%x %x\n", e.Key, e.Val)
		}
	}
	return nil
}
