package table_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"p2pmodel/nat"
	"p2pmodel/nat/table"
)

// After a rebinding the old port is closed and held, and another one is given,
// whatever the behaviour; after the table was emptied the counters go on.
func TestRebind(t *testing.T) {
	for _, behaviour := range []string{
		"mapping=EIM,filtering=EIF", "mapping=EIM,filtering=APDF,scope=endpoint", "mapping=APDM,filtering=ADF,ports=sequential",
		"mapping=ADM,filtering=APDF,ports=random", "mapping=EIM,filtering=APDF,ports=block,block=64",
		"kind=masquerade", "kind=masquerade-random",
	} {
		t.Run(behaviour, func(t *testing.T) {
			b, err := nat.ParseBehavior(behaviour + ",timeout=30s")
			if err != nil {
				t.Fatal(err)
			}
			nt, err := table.New(b, []netip.Addr{hosts["X"]}, rand.New(rand.NewPCG(1, 2)))
			if err != nil {
				t.Fatal(err)
			}
			server := netip.AddrPortFrom(hosts["S"], 80)
			mapped := func(now time.Time, host string) netip.AddrPort {
				v := nt.Outbound(now, table.Packet{Protocol: table.UDP, Src: netip.AddrPortFrom(hosts[host], 5000), Dst: server})
				if v.Drop != table.Passed {
					t.Fatalf("%s cannot send: %v", host, v.Drop)
				}
				return v.Packet.Src
			}
			enters := func(now time.Time, at netip.AddrPort) bool {
				return nt.Inbound(now, table.Packet{Protocol: table.UDP, Src: server, Dst: at}).Drop == table.Passed
			}
			a, other := mapped(epoch, "A"), mapped(epoch, "B")
			ended := nt.Rebind(epoch, hosts["A"])
			if len(ended) != 1 || ended[0].External != a {
				t.Fatalf("ended %v, want the mapping of %v", ended, a)
			}
			if enters(epoch, a) || !enters(epoch, other) {
				t.Error("the old port has to be closed, and that of another host open")
			}
			again := mapped(epoch, "A")
			if again == a || !enters(epoch, again) || enters(epoch, a) {
				t.Errorf("after the rebinding A is at %v, before at %v", again, a)
			}
			if still := mapped(epoch, "B"); still != other {
				t.Errorf("B was at %v and is at %v", other, still)
			}
			if ended := nt.Rebind(epoch); len(ended) != 2 {
				t.Errorf("all: ended %v, want two", ended)
			}
			if left := nt.Mappings(epoch); len(left) > 0 {
				t.Errorf("live are %v", left)
			}
			// What is held is given back in the end.
			if late := epoch.Add(31 * time.Second); b.Ports == nat.Preserve && mapped(late, "A") != a {
				t.Errorf("the port of %v is not free again after the timeout", a)
			}
		})
	}
}

func TestEmpty(t *testing.T) {
	converse := func(empty bool) string {
		b := nat.Behavior{Ports: nat.Sequential}
		nt, err := table.New(b, []netip.Addr{hosts["X"]}, nil)
		if err != nil {
			t.Fatal(err)
		}
		out := func() netip.AddrPort {
			return nt.Outbound(epoch, table.Packet{Protocol: table.UDP, Src: netip.AddrPortFrom(hosts["A"], 5000), Dst: netip.AddrPortFrom(hosts["S"], 80)}).Packet.Src
		}
		first := out()
		if empty {
			nt.Empty()
		} else {
			nt.Reboot()
		}
		if left := nt.Mappings(epoch); len(left) > 0 {
			t.Errorf("live are %v", left)
		}
		return fmt.Sprint(int(out().Port()) - int(first.Port()))
	}
	if emptied, rebooted := converse(true), converse(false); emptied != "1" || rebooted != "0" {
		t.Errorf("the next port is %s further after the table was emptied, want 1; %s after a reboot, want 0", emptied, rebooted)
	}
}
