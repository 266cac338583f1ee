package relay

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"
)

func TestBudgetForgetsAndForgives(t *testing.T) {
	b, err := newAnswerBudget(seeded(3), true)
	if err != nil {
		t.Fatal(err)
	}
	source := clientA.Addr()
	for range budgetBurst / 128 {
		if !b.spend(epoch, source, 0, 128) {
			t.Fatal("held back within the allowance")
		}
	}
	if b.spend(epoch, source, 0, 1) {
		t.Error("spent more than the allowance")
	}
	if !b.spend(epoch, source, 100, 100) {
		t.Error("as many bytes as came were held back")
	}
	if !b.spend(epoch.Add(1000*time.Hour), source, 0, budgetBurst) || b.spend(epoch.Add(1000*time.Hour), source, 0, 1) {
		t.Error("after a long time the allowance must be whole again, and not more")
	}
	// Sources spread over the slots, IPv6 by network.
	slots := make(map[int]bool)
	for i := range 1000 {
		var ip [4]byte
		binary.BigEndian.PutUint32(ip[:], 0xc6120000+uint32(i))
		slots[b.slot(netip.AddrFrom4(ip))] = true
	}
	if len(slots) < 850 {
		t.Errorf("1000 neighbours share %d of %d slots", len(slots), budgetSlots)
	}
	if b.slot(netip.MustParseAddr("2a00:1:2:3::1")) != b.slot(netip.MustParseAddr("2a00:1:2:3:ffff::9")) {
		t.Error("two addresses of one IPv6 network have budgets of their own")
	}
}
