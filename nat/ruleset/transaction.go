package ruleset

import (
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
)

// transaction collects what becomes of one table. All of it happens at once or
// not at all, and replaces a table of the same name.
type transaction struct {
	table *nftables.Table
	steps []step
	sets  uint32
}

// step is one thing to make, with its name for errors.
type step struct {
	what  string
	queue func(*nftables.Conn) error
}

func newTransaction(table string) *transaction {
	t := &transaction{table: tableNamed(table)}
	t.step("table "+table, func(c *nftables.Conn) error { c.AddTable(t.table); return nil })
	return t
}

func tableNamed(name string) *nftables.Table {
	return &nftables.Table{Name: name, Family: nftables.TableFamilyIPv4}
}

func (t *transaction) step(what string, queue func(*nftables.Conn) error) {
	t.steps = append(t.steps, step{what, queue})
}

// set makes a set or map. It chooses the number by which the kernel knows the
// set within the transaction: the library would draw it from a global counter
// without a lock.
func (t *transaction) set(s *nftables.Set, elements ...nftables.SetElement) {
	t.sets++
	s.ID, s.Table = t.sets, t.table
	t.step("set "+s.Name, func(c *nftables.Conn) error { return c.AddSet(s, elements) })
}

// chain makes a chain that others jump to.
func (t *transaction) chain(name string) {
	t.step("chain "+name, func(c *nftables.Conn) error {
		c.AddChain(&nftables.Chain{Name: name, Table: t.table})
		return nil
	})
}

// hook makes a base chain. Its policy is always to accept, and what is to be
// dropped is dropped by a rule: a base chain is live before its rules are.
func (t *transaction) hook(name string, kind nftables.ChainType, hook *nftables.ChainHook, priority nftables.ChainPriority) {
	t.step("chain "+name, func(c *nftables.Conn) error {
		c.AddChain(&nftables.Chain{
			Name: name, Table: t.table, Type: kind, Hooknum: hook, Priority: &priority,
		})
		return nil
	})
}

// rule adds a rule to the end of a chain. The comment says what it is for; the
// parts are expressions and lists of them.
func (t *transaction) rule(chain, comment string, parts ...any) {
	exprs := join(parts...)
	t.step(fmt.Sprintf("chain %s, rule %q", chain, comment), func(c *nftables.Conn) error {
		c.AddRule(&nftables.Rule{
			Table: t.table, Chain: &nftables.Chain{Name: chain, Table: t.table}, Exprs: exprs,
			UserData: userdata.AppendString(nil, userdata.TypeComment, comment),
		})
		return nil
	})
}

// answers is the room for the kernel's answers, in bytes: several hundred
// messages get one or two each, before the first is read. Where we may not have
// that much, the kernel gives what net.core.rmem_max allows, twice over, and
// that is enough unless much goes wrong.
const answers = 4 << 20

// roomy gives a connection to the namespace of another that has room for the
// answers.
func roomy(conn *nftables.Conn) (*nftables.Conn, error) {
	return nftables.New(nftables.WithNetNSFd(conn.NetNS),
		nftables.WithSockOptions(func(c *netlink.Conn) error { return c.SetReadBuffer(answers) }))
}

// commit carries it all out.
func (t *transaction) commit(conn *nftables.Conn) error {
	conn, err := roomy(conn)
	if err != nil {
		return err
	}
	there, err := exists(conn, t.table)
	if err != nil {
		return err
	}
	if there {
		// Not where there is none: the kernel waits for all processors, some
		// 10 ms, before it lets a table go.
		t.steps = append([]step{deletion(t.table)}, t.steps...)
	}
	if err = t.send(conn, len(t.steps)); err == nil {
		return nil
	}
	if culprit := t.culprit(conn); culprit != "" {
		return fmt.Errorf("%s: %w", culprit, err)
	}
	return fmt.Errorf("table %s as a whole: %w", t.table.Name, err)
}

// remove takes a table away, if it is there.
func remove(conn *nftables.Conn, name string) error {
	table := tableNamed(name)
	there, err := exists(conn, table)
	if err != nil || !there {
		return err
	}
	t := &transaction{table: table, steps: []step{deletion(table)}}
	return t.send(conn, 1)
}

func deletion(table *nftables.Table) step {
	return step{"deleting table " + table.Name, func(c *nftables.Conn) error { c.DelTable(table); return nil }}
}

func exists(conn *nftables.Conn, table *nftables.Table) (bool, error) {
	tables, err := conn.ListTablesOfFamily(table.Family)
	if err != nil {
		return false, fmt.Errorf("list tables: %w", err)
	}
	return slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == table.Name }), nil
}

func (t *transaction) send(conn *nftables.Conn, n int, last ...step) error {
	for _, s := range append(t.steps[:n:n], last...) {
		if err := s.queue(conn); err != nil {
			return fmt.Errorf("%s: %w", s.what, err)
		}
	}
	return conn.Flush()
}

// culprit finds the first step that the kernel refuses. The kernel's errors do
// not name the message that they are about, but there is one a message; so
// transactions of ever more steps are tried, each with an end that is refused in
// any case and keeps it from happening, until a second error comes.
func (t *transaction) culprit(conn *nftables.Conn) string {
	refused := step{"the end", func(c *nftables.Conn) error {
		c.DelTable(tableNamed("no such table"))
		return nil
	}}
	for n := 1; n <= len(t.steps); n++ {
		if count(t.send(conn, n, refused)) > 1 {
			return t.steps[n-1].what
		}
	}
	return ""
}

// count counts the errors that were joined into one.
func count(err error) int {
	if err == nil {
		return 0
	}
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) {
		return 1
	}
	n := 0
	for _, e := range joined.Unwrap() {
		n += count(e)
	}
	return n
}
