package budget

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func seeded(n byte) *rand.ChaCha8 { return rand.NewChaCha8([32]byte{n}) }

func newCredit(t *testing.T, advances bool) *Credit {
	t.Helper()
	c, err := NewCredit(seeded(3), advances)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *Credit) spends(now time.Time, source netip.Addr, in, out int) bool {
	_, ok := c.Spend(now, source, in, out)
	return ok
}

func TestCreditForgetsAndForgives(t *testing.T) {
	c, source := newCredit(t, true), netip.MustParseAddr("198.18.1.1")
	for range advanceSourceBurst / 128 {
		if !c.spends(epoch, source, 0, 128) {
			t.Fatal("held back within the allowance")
		}
	}
	if c.spends(epoch, source, 0, 1) {
		t.Error("spent more than the allowance")
	}
	if !c.spends(epoch, source, 100, 100) {
		t.Error("as many bytes as came were held back")
	}
	if !c.spends(epoch.Add(1000*time.Hour), source, 0, advanceSourceBurst) || c.spends(epoch.Add(1000*time.Hour), source, 0, 1) {
		t.Error("after a long time the allowance must be whole again, and not more")
	}
}

// TestAdvanceOfManySmallSteps: a second brings as much in a hundred thousand steps as in
// one, and a clock that is put back by an hour does not end it.
func TestAdvanceOfManySmallSteps(t *testing.T) {
	c, source := newCredit(t, true), netip.MustParseAddr("198.18.1.1")
	c.spends(epoch, source, 0, advanceSourceBurst)
	now, got := epoch.Add(-time.Hour), 0
	c.spends(now, source, 0, 1)
	for range 100_000 {
		now = now.Add(time.Second / 100_000)
		if c.spends(now, source, 0, 1) {
			got++
		}
	}
	if got != advanceSourceRate {
		t.Errorf("%d bytes in a second, want %d", got, advanceSourceRate)
	}
}

// TestCreditTakesTheBestAnswerThatIsPaidFor is a conversation: what comes, and which of
// an answer of 68 bytes and one of 32 leaves.
func TestCreditTakesTheBestAnswerThatIsPaidFor(t *testing.T) {
	c, source := newCredit(t, false), netip.MustParseAddr("198.18.1.1")
	for i, row := range []struct{ in, want int }{
		{20, -1}, {20, 1}, {20, -1}, {20, 1}, {100, 0}, {68, 0}, {19, 1}, {1, 1}, {0, -1},
	} {
		which, ok := c.Spend(epoch, source, row.in, 68, 32)
		if !ok {
			which = -1
		}
		if which != row.want {
			t.Errorf("request %d, of %d bytes: answer %d, want %d", i+1, row.in, which, row.want)
		}
	}
}

// TestAddressesKeepTheirCreditForThemselves has an address use none that another one
// with the same slot has saved.
func TestAddressesKeepTheirCreditForThemselves(t *testing.T) {
	c, rich := newCredit(t, false), netip.MustParseAddr("198.18.0.1")
	for poor := rich.Next(); ; poor = poor.Next() {
		if c.slot(poor) != c.slot(rich) {
			continue
		}
		c.spends(epoch, rich, creditMost, 0)
		if c.spends(epoch, poor, 20, 21) {
			t.Errorf("%v was answered with what %v had sent", poor, rich)
		}
		return
	}
}

// TestSourcesSpread: over the slots, IPv6 by network.
func TestSourcesSpread(t *testing.T) {
	s, err := newSeed(seeded(3))
	if err != nil {
		t.Fatal(err)
	}
	slots := make(map[int]bool)
	for i := range 1000 {
		var ip [4]byte
		binary.BigEndian.PutUint32(ip[:], 0xc6120000+uint32(i))
		slots[s.slot(netip.AddrFrom4(ip), creditSlots)] = true
	}
	if len(slots) < 850 {
		t.Errorf("1000 neighbours share %d of %d slots", len(slots), creditSlots)
	}
	at := func(a string) int { return s.slot(netip.MustParseAddr(a), 1<<62) }
	if at("2a00:1:2:3::1") != at("2a00:1:2:3:ffff::9") {
		t.Error("two addresses of one IPv6 network have budgets of their own")
	}
	if at("2a00:1:2:3::1") == at("2a00:1:2:4::1") || at("::ffff:198.18.0.1") != at("198.18.0.1") {
		t.Error("networks share a budget, or the forms of one address do not")
	}
}

func TestRates(t *testing.T) {
	r, err := NewRates(seeded(1), 10, 20)
	if err != nil {
		t.Fatal(err)
	}
	count := func(at time.Duration, n int, source string) (got int) {
		for range n {
			if r.Spend(epoch.Add(at), netip.MustParseAddr(source)) {
				got++
			}
		}
		return got
	}
	for _, row := range []struct {
		at     time.Duration
		n      int
		source string
		want   int
	}{
		{0, 100, "198.51.100.1", 20},
		{0, 100, "198.51.100.2", 20}, // another one has its own
		{time.Second, 100, "198.51.100.1", 10},
		{time.Second / 2, 1, "198.51.100.1", 0},        // a clock that steps back brings nothing
		{time.Second * 3 / 2, 100, "198.51.100.1", 10}, // and goes on from there
		{time.Hour, 100, "198.51.100.1", 20},
		{0, 15, "2001:db8::1", 15}, {0, 15, "2001:db8::2", 5}, // one network
	} {
		if got := count(row.at, row.n, row.source); got != row.want {
			t.Errorf("at %v %s may %d times, want %d", row.at, row.source, got, row.want)
		}
	}
}

// TestBudgetsHaveAFixedSize: once all pages are there, no source costs memory.
func TestBudgetsHaveAFixedSize(t *testing.T) {
	c := newCredit(t, true)
	r, err := NewRates(seeded(2), 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	use := func() {
		for i := range 20_000 {
			var ip [4]byte
			binary.BigEndian.PutUint32(ip[:], 0x0b000000+uint32(i))
			c.spends(epoch, netip.AddrFrom4(ip), 20, 32)
			r.Spend(epoch, netip.AddrFrom4(ip))
		}
	}
	use() // all pages are made
	if n := testing.AllocsPerRun(1, use); n != 0 {
		t.Errorf("twenty thousand sources more cost %v allocations", n)
	}
}
