//go:build linux

package ruleset

import (
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// transaction collects what becomes of one table. All of it happens at once or
// not at all, and replaces a table of the same name.
//
// The library's own transactions ask for an answer and an echo of each message,
// which takes longer than the work, overruns the socket's buffer, and gives
// errors that do not say what they are about. So expressions are the library's,
// and messages are encoded here: one answer, and errors that name their step.
type transaction struct {
	table *nftables.Table
	steps []step
	sets  uint32
	log   bool  // drops are logged
	err   error // of encoding
}

// step is one message, with the name for errors of what it makes.
type step struct {
	what    string
	kind    uint16 // NFT_MSG_…
	flags   uint16 // NLM_F_…
	payload []byte // behind the netfilter header
}

func newTransaction(table string) *transaction {
	t := &transaction{table: tableNamed(table)}
	t.step("table "+table, unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE, text(unix.NFTA_TABLE_NAME, table))
	return t
}

func tableNamed(name string) *nftables.Table {
	return &nftables.Table{Name: name, Family: nftables.TableFamilyIPv4}
}

func (t *transaction) step(what string, kind, flags uint16, attributes ...netlink.Attribute) {
	payload, err := netlink.MarshalAttributes(attributes)
	if err != nil {
		t.err = errors.Join(t.err, fmt.Errorf("%s: encode: %w", what, err))
	}
	t.steps = append(t.steps, step{what, kind, flags, payload})
}

// nested encodes attributes within an attribute.
func (t *transaction) nested(kind uint16, attributes ...netlink.Attribute) netlink.Attribute {
	data, err := netlink.MarshalAttributes(attributes)
	t.err = errors.Join(t.err, err)
	return netlink.Attribute{Type: unix.NLA_F_NESTED | kind, Data: data}
}

// set makes a set or map. Its number, by which the kernel knows it within the
// transaction, counts here: the library's own counter is global and unlocked.
func (t *transaction) set(s *nftables.Set, elements ...nftables.SetElement) {
	t.sets++
	s.ID = t.sets
	var flags uint32
	if s.IsMap {
		flags |= unix.NFT_SET_MAP
	}
	if s.HasTimeout {
		flags |= unix.NFT_SET_TIMEOUT
	}
	if s.Dynamic {
		flags |= unix.NFT_SET_EVAL
	}
	attributes := []netlink.Attribute{
		text(unix.NFTA_SET_TABLE, t.table.Name), text(unix.NFTA_SET_NAME, s.Name),
		number(unix.NFTA_SET_ID, s.ID), number(unix.NFTA_SET_FLAGS, flags),
		number(unix.NFTA_SET_KEY_TYPE, s.KeyType.GetNFTMagic()), number(unix.NFTA_SET_KEY_LEN, s.KeyType.Bytes),
	}
	if s.IsMap {
		attributes = append(attributes,
			number(unix.NFTA_SET_DATA_TYPE, s.DataType.GetNFTMagic()), number(unix.NFTA_SET_DATA_LEN, s.DataType.Bytes))
	}
	if s.HasTimeout {
		attributes = append(attributes, long(unix.NFTA_SET_TIMEOUT, uint64(s.Timeout.Milliseconds())))
	}
	if s.Size > 0 {
		attributes = append(attributes, t.nested(unix.NFTA_SET_DESC, number(unix.NFTA_SET_DESC_SIZE, s.Size)))
	}
	t.step("set "+s.Name, unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE, attributes...)
	if len(elements) > 0 {
		t.elements(s, elements)
	}
}

func (t *transaction) elements(s *nftables.Set, elements []nftables.SetElement) {
	value := func(data []byte) netlink.Attribute { return netlink.Attribute{Type: unix.NFTA_DATA_VALUE, Data: data} }
	var list []netlink.Attribute
	for _, e := range elements {
		item := []netlink.Attribute{t.nested(unix.NFTA_SET_ELEM_KEY, value(e.Key))}
		if s.IsMap {
			item = append(item, t.nested(unix.NFTA_SET_ELEM_DATA, value(e.Val)))
		}
		list = append(list, t.nested(unix.NFTA_LIST_ELEM, item...))
	}
	t.step("elements of set "+s.Name, unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE,
		text(unix.NFTA_SET_ELEM_LIST_TABLE, t.table.Name), text(unix.NFTA_SET_ELEM_LIST_SET, s.Name),
		number(unix.NFTA_SET_ELEM_LIST_SET_ID, s.ID), t.nested(unix.NFTA_SET_ELEM_LIST_ELEMENTS, list...))
}

// chain makes a chain that others jump to.
func (t *transaction) chain(name string) {
	t.step("chain "+name, unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE,
		text(unix.NFTA_CHAIN_TABLE, t.table.Name), text(unix.NFTA_CHAIN_NAME, name))
}

// hook makes a base chain. Its policy is always to accept, and what is to be
// dropped is dropped by a rule: a base chain is live before its rules are.
func (t *transaction) hook(name string, kind nftables.ChainType, hook *nftables.ChainHook, priority nftables.ChainPriority) {
	t.step("chain "+name, unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE,
		text(unix.NFTA_CHAIN_TABLE, t.table.Name), text(unix.NFTA_CHAIN_NAME, name),
		text(unix.NFTA_CHAIN_TYPE, string(kind)),
		t.nested(unix.NFTA_CHAIN_HOOK,
			number(unix.NFTA_HOOK_HOOKNUM, uint32(*hook)), number(unix.NFTA_HOOK_PRIORITY, uint32(priority))))
}

// rule adds a rule to the end of a chain. The comment says what it is for; the
// parts are expressions and lists of them.
func (t *transaction) rule(chain, comment string, parts ...any) {
	what := fmt.Sprintf("chain %s, rule %q", chain, comment)
	var exprs []netlink.Attribute
	for _, e := range t.logged(chain, comment, join(parts...)) {
		data, err := marshal(byte(t.table.Family), e)
		if err != nil {
			t.err = errors.Join(t.err, fmt.Errorf("%s: encode: %w", what, err))
		}
		exprs = append(exprs, netlink.Attribute{Type: unix.NLA_F_NESTED | unix.NFTA_LIST_ELEM, Data: data})
	}
	t.step(what, unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_APPEND,
		text(unix.NFTA_RULE_TABLE, t.table.Name), text(unix.NFTA_RULE_CHAIN, chain),
		t.nested(unix.NFTA_RULE_EXPRESSIONS, exprs...),
		netlink.Attribute{
			Type: unix.NFTA_RULE_USERDATA,
			Data: userdata.AppendString(nil, userdata.TypeComment, comment),
		})
}

// commit carries it all out.
func (t *transaction) commit(conn *nftables.Conn) error {
	if t.err != nil {
		return t.err
	}
	there, err := exists(conn, t.table)
	if err != nil {
		return err
	}
	steps := t.steps
	if there {
		// Not where there is none: the kernel waits for all processors, some
		// 10 ms, before it lets a table go.
		steps = append([]step{deletion(t.table)}, steps...)
	}
	return send(conn.NetNS, t.table.Family, steps)
}

// removeTable takes a table away, if it is there.
func removeTable(conn *nftables.Conn, name string) error {
	table := tableNamed(name)
	there, err := exists(conn, table)
	if err != nil || !there {
		return err
	}
	return send(conn.NetNS, table.Family, []step{deletion(table)})
}

func deletion(table *nftables.Table) step {
	t := &transaction{table: table}
	t.step("deleting table "+table.Name, unix.NFT_MSG_DELTABLE, 0, text(unix.NFTA_TABLE_NAME, table.Name))
	return t.steps[0]
}

func exists(conn *nftables.Conn, table *nftables.Table) (bool, error) {
	tables, err := conn.ListTablesOfFamily(table.Family)
	if err != nil {
		return false, fmt.Errorf("list tables: %w", err)
	}
	return slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == table.Name }), nil
}
