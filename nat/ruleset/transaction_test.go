//go:build linux

package ruleset

import (
	"errors"
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

var pooled = []netip.Addr{netip.MustParseAddr("198.18.0.1"), netip.MustParseAddr("198.18.0.2")}

// here gives a connection to a network namespace of its own.
func here(t *testing.T) *nftables.Conn {
	t.Helper()
	type made struct {
		fd  int
		err error
	}
	c := make(chan made)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			c <- made{err: err}
			return
		}
		fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		c <- made{fd, err}
	}()
	m := <-c
	if m.err != nil {
		t.Fatalf("make a network namespace: %v (run as root)", m.err)
	}
	t.Cleanup(func() { unix.Close(m.fd) })
	conn, err := nftables.New(nftables.WithNetNSFd(m.fd))
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// An error names the rule that the kernel refuses, each of them, and nothing
// changes.
func TestErrorNamesRule(t *testing.T) {
	conn := here(t)
	tx := build(mustResolve(t))
	tx.rule("nowhere", "a rule of no chain", drop(CauseProtocol))
	tx.rule(chainInbound, "looks into no set", load(source, 0), &expr.Lookup{SourceRegister: reg(0).number(), SetName: "missing"})
	err := tx.commit(conn)
	if !errors.Is(err, unix.ENOENT) {
		t.Fatalf("error %v, want %v", err, unix.ENOENT)
	}
	for _, want := range []string{`chain nowhere, rule "a rule of no chain": no such file`, `chain inbound, rule "looks into no set": no such file`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q lacks %q", err, want)
		}
	}
	if there, err := exists(conn, tx.table); there || err != nil {
		t.Errorf("the table is there: %v, error %v", there, err)
	}
}

// A transaction that fails as a whole leaves the one before as it was.
func TestErrorKeepsOld(t *testing.T) {
	conn := here(t)
	if err := build(mustResolve(t)).commit(conn); err != nil {
		t.Fatal(err)
	}
	before, err := Render(conn)
	if err != nil {
		t.Fatal(err)
	}
	tx := newTransaction(natTable)
	tx.rule("nowhere", "a rule of no chain", drop(CauseProtocol))
	if tx.commit(conn) == nil {
		t.Fatal("a rule of no chain was taken")
	}
	if after, err := Render(conn); err != nil || after != before {
		t.Errorf("error %v; before\n%s\nafter\n%s", err, before, after)
	}
}
