package sim

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"p2pmodel/nat"
)

func TestPlanOfEveryLabHasNoClash(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lab := labs().Draw(t, "lab")
		plan, err := lab.Plan()
		if err != nil {
			t.Fatal(err)
		}
		checkPlan(t, lab, plan)
		again, err := lab.Plan()
		if err != nil || !reflect.DeepEqual(plan, again) {
			t.Fatalf("the same lab was planned differently: %v", err)
		}
	})
}

// checkPlan checks what every plan must hold.
func checkPlan(t interface{ Fatalf(string, ...any) }, lab *Lab, plan *Plan) {
	type place struct {
		realm string
		addr  netip.Addr
	}
	given := map[place]string{}
	give := func(realm string, a netip.Addr, who string) {
		r, ok := plan.Realm(realm)
		if !ok || !r.Prefix.Contains(a) {
			t.Fatalf("%s: %v is not of realm %s, %v", who, a, realm, r.Prefix)
		}
		if ProbePrefix.Contains(a) || a == r.Prefix.Addr() || a == last(r.Prefix) {
			t.Fatalf("%s: %v is not for nodes", who, a)
		}
		if other, clash := given[place{realm, a}]; clash {
			t.Fatalf("%s and %s both have %v in realm %s", other, who, a, realm)
		}
		given[place{realm, a}] = who
	}
	for _, r := range plan.Realms {
		give(r.Name, r.Gateway, "gateway of "+r.Name)
	}
	planned := map[string]bool{Internet: true}
	perHost := map[place]bool{}
	for _, l := range plan.Links {
		if !planned[l.Parent] {
			t.Fatalf("%v comes before %s, which it stands behind", l.ID, l.Parent)
		}
		planned[l.ID.Node] = true
		for i, a := range l.NodeAddrs {
			give(l.Realm, a, l.ID.String())
			if i > 0 && a != l.NodeAddrs[i-1].Next() {
				t.Fatalf("%v: addresses %v are not consecutive", l.ID, l.NodeAddrs)
			}
			if perHost[place{l.ID.Node, a}] {
				t.Fatalf("two uplinks of %s have %v", l.ID.Node, a)
			}
			perHost[place{l.ID.Node, a}] = true
			if id, ok := plan.Owner(l.Realm, a); !ok || id != l.ID {
				t.Fatalf("the owner of %v in %s is %v, not %v", a, l.Realm, id, l.ID)
			}
		}
	}
	for _, r := range lab.Routers {
		if r.NAT == nil {
			continue
		}
		external, _ := plan.Link(LinkID{r.Name, DefaultUplink})
		for n := 1; n <= 3; n++ {
			fresh, err := plan.Spare(r.Name, n)
			if err != nil || len(fresh) != len(external.NodeAddrs) {
				t.Fatalf("router %s, reboot %d: %v, %v", r.Name, n, fresh, err)
			}
			for _, a := range fresh {
				give(external.Realm, a, fmt.Sprintf("reboot %d of %s", n, r.Name))
			}
		}
	}
	if want := len(lab.Routers) + countUplinks(lab); len(plan.Links) != want {
		t.Fatalf("%d links are planned, the lab has %d", len(plan.Links), want)
	}
}

func countUplinks(lab *Lab) int {
	n := 0
	for _, h := range lab.Hosts {
		n += len(h.Uplinks)
	}
	return n
}

// nested is a lab with a carrier, a home behind it, a plain router and a
// phone with two uplinks.
func nested() *Lab {
	symmetric := nat.Behavior{Mapping: nat.AddressAndPortDependent, Filtering: nat.AddressAndPortDependent, Ports: nat.Random}
	cone := nat.Behavior{Filtering: nat.AddressAndPortDependent}
	return &Lab{
		Routers: []Router{
			{Name: "home", Behind: "carrier", NAT: &cone},
			{Name: "carrier", NAT: &symmetric, Addresses: 2},
			{Name: "dsl", NAT: &cone},
			{Name: "office", Behind: "floor"},
			{Name: "floor"},
		},
		Hosts: []Host{
			{Name: "a", Uplinks: []Uplink{{DefaultUplink, "home"}}},
			{Name: "phone", Uplinks: []Uplink{{"4g", "carrier"}, {"wifi", "dsl"}, {"guest", "home"}}},
			{Name: "desk", Uplinks: []Uplink{{DefaultUplink, "office"}}},
			{Name: "server", Addresses: 2, Uplinks: []Uplink{{Name: DefaultUplink}}},
		},
	}
}

func TestPlanLooksLikeTheWorld(t *testing.T) {
	plan, err := nested().Plan()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range plan.Links {
		line := fmt.Sprintf("%v in %s: %v behind %s %v", l.ID, l.Realm, l.NodeAddrs, l.Parent, l.ParentAddr)
		if len(l.Routes) > 0 {
			line += fmt.Sprintf(" routes %v", l.Routes)
		}
		got = append(got, line)
	}
	want := []string{
		"carrier in internet: [198.18.0.2 198.18.0.3] behind internet 198.18.0.1",
		"home in carrier: [100.64.0.2] behind carrier 100.64.0.1",
		"dsl in internet: [198.18.0.4] behind internet 198.18.0.1",
		"floor in internet: [198.18.0.5] behind internet 198.18.0.1 routes [198.18.0.6/32 198.18.0.7/32]",
		"office in internet: [198.18.0.6] behind floor 198.18.0.5 routes [198.18.0.7/32]",
		"a in home: [192.168.1.2] behind home 192.168.1.1",
		"phone/4g in carrier: [100.64.0.3] behind carrier 100.64.0.1",
		"phone/wifi in dsl: [192.168.1.2] behind dsl 192.168.1.1",
		"phone/guest in home: [192.168.1.3] behind home 192.168.1.1",
		"desk in internet: [198.18.0.7] behind office 198.18.0.6",
		"server in internet: [198.18.0.8 198.18.0.9] behind internet 198.18.0.1",
	}
	if !slices.Equal(got, want) {
		t.Errorf("planned:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if fresh, err := plan.Spare("carrier", 2); err != nil || fmt.Sprint(fresh) != "[198.18.0.13 198.18.0.14]" {
		t.Errorf("second reboot of the carrier takes %v, %v", fresh, err)
	}
}

func TestHostsOfOneHomeWithTwoUplinksDiffer(t *testing.T) {
	cone := &nat.Behavior{}
	lab := &Lab{
		Routers: []Router{{Name: "one", NAT: cone}, {Name: "two", NAT: cone}},
		Hosts:   []Host{{Name: "phone", Uplinks: []Uplink{{"a", "one"}, {"b", "two"}}}},
	}
	plan, err := lab.Plan()
	if err != nil {
		t.Fatal(err)
	}
	if a, b := plan.Addresses("phone", "a"), plan.Addresses("phone", "b"); a[0] == b[0] {
		t.Errorf("both uplinks have %v: a move would not show as a change of address", a[0])
	}
}

func TestPlanOfAThousandRoutersAndHosts(t *testing.T) {
	for _, test := range []struct {
		name  string
		front func(i int) string
	}{
		{"on the internet", func(int) string { return "" }},
		{"behind one carrier", func(i int) string {
			if i == 0 {
				return ""
			}
			return "r0"
		}},
		{"in chains of 20", func(i int) string {
			if i%20 == 0 {
				return ""
			}
			return fmt.Sprintf("r%d", i-1)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			lab := &Lab{}
			for i := range 1000 {
				lab.Routers = append(lab.Routers, Router{Name: fmt.Sprintf("r%d", i), Behind: test.front(i), NAT: &nat.Behavior{}})
				lab.Hosts = append(lab.Hosts, Host{Name: fmt.Sprintf("h%d", i), Uplinks: []Uplink{{DefaultUplink, fmt.Sprintf("r%d", i)}}})
			}
			plan, err := lab.Plan()
			if err != nil {
				t.Fatal(err)
			}
			checkPlan(t, lab, plan)
		})
	}
	t.Run("hosts behind one NAT", func(t *testing.T) {
		lab := &Lab{Routers: []Router{{Name: "company", NAT: &nat.Behavior{}}}}
		for i := range 1000 {
			lab.Hosts = append(lab.Hosts, Host{Name: fmt.Sprintf("h%d", i), Uplinks: []Uplink{{DefaultUplink, "company"}}})
		}
		plan, err := lab.Plan()
		if err != nil {
			t.Fatal(err)
		}
		checkPlan(t, lab, plan)
		if r, _ := plan.Realm("company"); r.Prefix != CompanyPrefix {
			t.Errorf("1000 hosts are in %v, want %v", r.Prefix, CompanyPrefix)
		}
	})
}

func TestSparesRunOutWithAnError(t *testing.T) {
	plan, err := (&Lab{Routers: []Router{{Name: "r", NAT: &nat.Behavior{}}, {Name: "plain"}}}).Plan()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{-1, 0, 131_000, 1 << 24, 1<<63 - 1} {
		if fresh, err := plan.Spare("r", n); err == nil {
			t.Errorf("reboot %d takes %v, want an error", n, fresh)
		}
	}
	if _, err := plan.Spare("plain", 1); err == nil {
		t.Error("a router without NAT has no spare addresses")
	}
}

func TestChainIsInnerFirst(t *testing.T) {
	for _, test := range []struct{ host, uplink, want string }{
		{"a", "", "home carrier"}, {"phone", "", "carrier"}, {"phone", "wifi", "dsl"},
		{"desk", DefaultUplink, "office floor"}, {"server", "", ""},
		{"nobody", "", `the lab has no host "nobody"`}, {"phone", "5g", `host "phone" has no uplink "5g"`},
	} {
		chain, err := nested().Chain(test.host, test.uplink)
		var names []string
		for _, r := range chain {
			names = append(names, r.Name)
		}
		got := strings.Join(names, " ")
		if err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("chain of %s/%s: %q, want %q", test.host, test.uplink, got, test.want)
		}
	}
}
