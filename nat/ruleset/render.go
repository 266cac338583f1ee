//go:build linux

package ruleset

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
)

// Render gives all that the package has installed in the namespace as text for
// people: tables, chains with their rules, and sets with their live elements.
// The text is ours; nft (1.0.6) stops at some of these rules.
func Render(conn *nftables.Conn) (string, error) {
	var b strings.Builder
	for _, name := range []string{firewallTable, natTable} {
		table := tableNamed(name)
		there, err := exists(conn, table)
		if err != nil {
			return "", fmt.Errorf("render: %w", err)
		}
		if !there {
			continue
		}
		if err := renderTable(&b, conn, table); err != nil {
			return "", fmt.Errorf("render table %s: %w", name, err)
		}
	}
	if b.Len() == 0 {
		return "no rules\n", nil
	}
	return b.String(), nil
}

func renderTable(b *strings.Builder, conn *nftables.Conn, table *nftables.Table) error {
	chains, err := conn.ListChainsOfTableFamily(table.Family)
	if err != nil {
		return fmt.Errorf("list chains: %w", err)
	}
	rules, err := dumpRules(conn, table)
	if err != nil {
		return fmt.Errorf("list rules: %w", err)
	}
	sets, err := conn.GetSets(table)
	if err != nil {
		return fmt.Errorf("list sets: %w", err)
	}
	byName := map[string]*nftables.Set{}
	for _, s := range sets {
		byName[s.Name] = s
	}

	fmt.Fprintf(b, "table %s\n", table.Name)
	chains = slices.DeleteFunc(chains, func(c *nftables.Chain) bool { return c.Table.Name != table.Name })
	// Base chains first, in the order in which packets meet them.
	slices.SortStableFunc(chains, func(x, y *nftables.Chain) int { return rank(x) - rank(y) })
	for _, c := range chains {
		renderChain(b, c, rules, byName)
	}
	slices.SortFunc(sets, func(x, y *nftables.Set) int { return strings.Compare(x.Name, y.Name) })
	for _, s := range sets {
		elements, err := conn.GetSetElements(s)
		if err != nil {
			return fmt.Errorf("list set %s: %w", s.Name, err)
		}
		renderSet(b, s, elements)
	}
	return nil
}

var hookNames = map[nftables.ChainHook]string{
	*nftables.ChainHookPrerouting: "prerouting", *nftables.ChainHookInput: "input",
	*nftables.ChainHookForward: "forward", *nftables.ChainHookOutput: "output",
	*nftables.ChainHookPostrouting: "postrouting",
}

// rank orders chains: base chains by hook and priority, then the others.
func rank(c *nftables.Chain) int {
	if c.Hooknum == nil {
		return 1 << 30
	}
	return int(*c.Hooknum)*10000 + int(*c.Priority)
}

func renderChain(b *strings.Builder, c *nftables.Chain, rules []dumpedRule, sets map[string]*nftables.Set) {
	fmt.Fprintf(b, "  chain %s", c.Name)
	if c.Hooknum != nil {
		fmt.Fprintf(b, " (%s, priority %d)", hookNames[*c.Hooknum], *c.Priority)
	}
	b.WriteByte('\n')
	// Equal rules in a row are the attempts to find a port.
	last, times := "", 0
	flush := func() {
		if times > 1 {
			fmt.Fprintf(b, "    … %d times\n", times)
		}
		times = 0
	}
	for _, r := range rules {
		if r.chain != c.Name {
			continue
		}
		text := fmt.Sprintf("    # %s\n    %s\n", r.comment, statements(r, sets))
		if text != last {
			flush()
			b.WriteString(text)
		}
		last, times = text, times+1
	}
	flush()
}

func renderSet(b *strings.Builder, s *nftables.Set, elements []nftables.SetElement) {
	kind := "set"
	if s.IsMap {
		kind = "map"
	}
	fmt.Fprintf(b, "  %s %s: %s", kind, s.Name, s.KeyType.Name)
	if s.IsMap {
		fmt.Fprintf(b, " : %s", s.DataType.Name)
	}
	if s.HasTimeout {
		fmt.Fprintf(b, ", timeout %v", s.Timeout)
	}
	if s.Size > 0 {
		fmt.Fprintf(b, ", at most %d", s.Size)
	}
	b.WriteByte('\n')
	slices.SortFunc(elements, func(x, y nftables.SetElement) int { return bytes.Compare(x.Key, y.Key) })
	for _, e := range elements {
		fmt.Fprintf(b, "    %s", value(s.KeyType, e.Key))
		if s.IsMap {
			fmt.Fprintf(b, " : %s", value(s.DataType, e.Val))
		}
		if s.HasTimeout {
			fmt.Fprintf(b, " expires %v", tenths(e.Expires))
		}
		b.WriteByte('\n')
	}
}

// value gives an element's key or data: fields of four bytes each, or one.
func value(t nftables.SetDatatype, data []byte) string {
	var fields []string
	for i, f := range strings.Split(t.Name, " . ") {
		if i*4 >= len(data) {
			break
		}
		fields = append(fields, fieldValue(f, data[i*4:]))
	}
	return strings.Join(fields, " . ")
}

func fieldValue(kind string, b []byte) string {
	switch {
	case kind == nftables.TypeIPAddr.Name && len(b) >= 4:
		return netip.AddrFrom4([4]byte(b)).String()
	case kind == nftables.TypeInetService.Name && len(b) >= 2:
		return fmt.Sprint(binary.BigEndian.Uint16(b))
	case kind == nftables.TypeInteger.Name && len(b) >= 4:
		return fmt.Sprint(binaryutil.NativeEndian.Uint32(b))
	}
	return fmt.Sprint(b[0])
}
