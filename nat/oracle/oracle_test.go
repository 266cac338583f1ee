package oracle_test

import (
	"strings"
	"testing"

	"p2pmodel/nat"
	"p2pmodel/nat/oracle"
)

// kinds are the nine pairs of mapping (upper case) and filtering (lower case):
// e endpoint-independent, a address-dependent, p address-and-port-dependent.
var kinds = []string{"Ei", "Ea", "Ep", "Ai", "Aa", "Ap", "Pi", "Pa", "Pp"}

// expected is what each pair of kinds allows: D direct, S direct only by split
// paths, 1 with one side searching ports, 1+1 with both, 2 with a joint guess.
const expected = `
	Ei D D D D D   D D D D
	Ea D D D D D   D D D D
	Ep D D D 1 1   1 1 1 1
	Ai D D 1 D D   1 D D 1
	Aa D D 1 D 1   1 D 1 1
	Ap D D 1 1 1 1+1 1 1 1+1
	Pi D D 1 D D   1 S S 2
	Pa D D 1 D 1   1 S 1 2
	Pp D D 1 1 1 1+1 2 2 2`

// withScopeEndpoint are the cells that differ where filters belong to inside
// endpoints.
var withScopeEndpoint = map[string]string{
	"Aa×Aa": "D", "Aa×Pa": "D", "Pa×Pa": "S", "Pi×Pp": "1", "Pa×Pp": "1", "Pp×Pp": "1+1",
}

func kind(name string) nat.Behavior {
	return nat.Behavior{
		Mapping:   nat.Dependence(strings.IndexByte("EAP", name[0])),
		Filtering: nat.Dependence(strings.IndexByte("iap", name[1])),
	}
}

func behind(b nat.Behavior) oracle.Chain { return oracle.Chain{{NAT: &b}} }

func expect(t *testing.T, a, b oracle.Chain, opt oracle.Options) oracle.Expectation {
	t.Helper()
	e, err := oracle.Expect(a, b, opt)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// TestEveryPairOfKinds checks all 81 cells, whatever the allocation.
func TestEveryPairOfKinds(t *testing.T) {
	for _, scope := range []nat.Scope{nat.ScopeMapping, nat.ScopeEndpoint} {
		for _, ports := range []nat.Allocation{nat.Preserve, nat.Sequential, nat.Random} {
			for i, line := range strings.Split(strings.TrimSpace(expected), "\n") {
				for j, want := range strings.Fields(line)[1:] {
					a, b := kind(kinds[i]), kind(kinds[j])
					a.Scope, b.Scope, a.Ports, b.Ports = scope, scope, ports, ports
					if scope == nat.ScopeEndpoint {
						for _, cell := range []string{kinds[i] + "×" + kinds[j], kinds[j] + "×" + kinds[i]} {
							if changed, ok := withScopeEndpoint[cell]; ok {
								want = changed
							}
						}
					}
					if got := expect(t, behind(a), behind(b), oracle.Options{}).Outcome.String(); got != want {
						t.Errorf("scope=%s, ports=%s: %s × %s is %s, want %s", scope, ports, kinds[i], kinds[j], got, want)
					}
				}
			}
		}
	}
}

func chain(t *testing.T, elements ...string) oracle.Chain {
	t.Helper()
	var c oracle.Chain
	for _, text := range elements {
		// NAME is NAT or firewall, as in "home nat=linux fw=stateful"
		var e oracle.Element
		for _, word := range strings.Fields(text) {
			key, value, found := strings.Cut(word, ":")
			switch {
			case !found:
				e.Name = word
			case key == "nat":
				b, err := nat.ParseBehavior(value)
				if err != nil {
					t.Fatal(err)
				}
				e.NAT = &b
			case key == "fw":
				f, err := nat.ParseFirewall(value)
				if err != nil {
					t.Fatal(err)
				}
				e.Firewall = &f
			}
		}
		c = append(c, e)
	}
	return c
}

func TestChains(t *testing.T) {
	plain, split := oracle.Options{}, oracle.Options{SplitPaths: true}
	predict := oracle.Options{Techniques: []oracle.Technique{oracle.Prediction}}
	birthday := oracle.Options{Techniques: []oracle.Technique{oracle.Birthday}}
	type c = []string
	for _, row := range []struct {
		name    string
		a, b    []string
		opt     oracle.Options
		outcome string
		path    oracle.Path
	}{
		{"two public hosts", c{}, c{}, plain, "D", "direct"},
		{"symmetric and a public host", c{"nat:symmetric"}, c{}, plain, "D", "direct"},

		{"TC-01", c{"nat:full-cone"}, c{"nat:full-cone"}, plain, "D", "direct"},
		{"TC-01's control", c{"nat:symmetric"}, c{"nat:symmetric"}, plain, "2", "relay"},
		{"TC-02", c{"nat:restricted-cone"}, c{"nat:port-restricted-cone"}, plain, "D", "direct"},
		{"TC-04", c{"nat:full-cone"}, c{"fw:stateful,udp=3478"}, plain, "-", "relay"},
		{"TC-04 without UDP", c{"nat:full-cone"}, c{"fw:stateful,udp=none"}, plain, "-", "none"},
		{"TC-06 on 4G", c{"inner nat:symmetric,ports=random", "carrier nat:symmetric,ports=random"}, c{"nat:port-restricted"}, plain, "1", "relay"},
		{"TC-06 on Wi-Fi", c{"nat:port-restricted"}, c{"nat:port-restricted"}, plain, "D", "direct"},
		{"TC-07, first pair", c{"nat:symmetric,ports=random"}, c{"nat:port-restricted"}, plain, "1", "relay"},
		{"TC-07, second pair", c{"nat:symmetric,ports=random"}, c{"nat:symmetric,ports=random"}, plain, "2", "relay"},

		{"an inbound firewall alone is a port-restricted cone: open", c{"nat:full-cone"}, c{"fw:stateful"}, plain, "D", "direct"},
		{"and against symmetric", c{"nat:symmetric"}, c{"fw:stateful"}, plain, "1", "relay"},
		{"an inbound firewall hardens the cone behind it", c{"fw:stateful", "nat:full-cone"}, c{"nat:symmetric"}, plain, "1", "relay"},
		{"and so on one router", c{"nat:full-cone fw:stateful"}, c{"nat:symmetric"}, plain, "1", "relay"},
		{"an open firewall does nothing", c{"fw:open", "nat:full-cone"}, c{"nat:symmetric"}, plain, "D", "direct"},
		{"both behind UDP to the servers only", c{"fw:stateful,udp=3478"}, c{"fw:stateful,udp=3478"}, plain, "-", "relay"},
		{"a relay at a port that is blocked", c{"nat:full-cone"}, c{"fw:stateful,udp=3478"}, oracle.Options{RelayPort: 5349}, "-", "none"},
		{"a rendezvous at a port that is blocked", c{"nat:full-cone"}, c{"fw:stateful,udp=3478"}, oracle.Options{RendezvousPort: 3479}, "-", "none"},

		{"stacked: not the least independent mapping and the strictest filtering", c{"nat:mapping=EIM,filtering=ADF", "nat:mapping=ADM,filtering=EIF"},
			c{"nat:mapping=EIM,filtering=ADF", "nat:mapping=ADM,filtering=EIF"}, plain, "D", "direct"},
		{"as a single NAT it would be", c{"nat:mapping=ADM,filtering=ADF"}, c{"nat:mapping=ADM,filtering=ADF"}, plain, "1", "relay"},

		{"split paths, refused", c{"nat:mapping=APDM,filtering=EIF"}, c{"nat:mapping=APDM,filtering=EIF"}, plain, "S", "relay"},
		{"split paths, accepted", c{"nat:mapping=APDM,filtering=EIF"}, c{"nat:mapping=APDM,filtering=EIF"}, split, "S", "direct"},
		{"prediction of sequential ports", c{"nat:symmetric"}, c{"nat:symmetric"}, predict, "2", "direct"},
		{"prediction of random ports", c{"nat:symmetric,ports=random"}, c{"nat:port-restricted"}, predict, "1", "relay"},
		{"birthday search of random ports", c{"nat:symmetric,ports=random"}, c{"nat:port-restricted"}, birthday, "1", "direct"},
		{"birthday search cannot guess jointly", c{"nat:symmetric"}, c{"nat:symmetric"}, birthday, "2", "relay"},

		{"one home: host candidates, even behind a symmetric NAT", c{"home nat:symmetric"}, c{"home nat:symmetric"}, plain, "D", "direct"},
		{"one firewall: likewise", c{"office fw:stateful,udp=3478"}, c{"office fw:stateful,udp=3478"}, plain, "D", "direct"},
		{"one carrier without hairpin", c{"nat:full-cone", "carrier nat:full-cone"}, c{"nat:full-cone", "carrier nat:full-cone"}, plain, "-", "relay"},
		{"one carrier that hairpins", c{"nat:linux", "carrier nat:port-restricted,hairpin=external"}, c{"nat:linux", "carrier nat:port-restricted,hairpin=external"}, plain, "D", "direct"},
		{"one carrier, one peer without a home router: its host candidate is reachable", c{"carrier nat:symmetric"}, c{"nat:symmetric", "carrier nat:symmetric"}, plain, "D", "direct"},
		{"two Linux routers", c{"nat:kind=masquerade"}, c{"nat:kind=masquerade"}, plain, "D", "direct"},
		{"Linux routers one behind the other", c{"nat:kind=masquerade", "nat:kind=masquerade"}, c{"nat:kind=masquerade"}, plain, "D", "direct"},
		{"the peer's probe comes first and the router takes it: our port is another then", c{"nat:kind=masquerade,early-inbound=accept"}, c{"nat:port-restricted"}, plain, "1", "relay"},
		{"where both take it, each probe spoils the port of the answer", c{"nat:kind=masquerade,early-inbound=accept"}, c{"nat:kind=masquerade,early-inbound=accept"}, plain, "-", "relay"},
		{"which one that lets in other ports does not mind", c{"nat:kind=masquerade,early-inbound=accept"}, c{"nat:restricted"}, plain, "D", "direct"},
		{"nor a public host", c{"nat:kind=masquerade,early-inbound=accept"}, c{}, plain, "D", "direct"},
		{"masquerade random is symmetric", c{"nat:kind=masquerade-random"}, c{"nat:port-restricted"}, plain, "1", "relay"},
		{"and so on both sides", c{"nat:kind=masquerade-random"}, c{"nat:kind=masquerade-fully-random"}, plain, "2", "relay"},
		{"and cannot be foretold", c{"nat:kind=masquerade-random"}, c{"nat:kind=masquerade-random"}, predict, "2", "relay"},
		{"a home behind masquerade random", c{"home nat:kind=masquerade-random"}, c{"home nat:kind=masquerade-random"}, plain, "D", "direct"},
		{"one firewall before two homes", c{"nat:full-cone", "office fw:stateful"}, c{"nat:full-cone", "office fw:stateful"}, plain, "D", "direct"},
	} {
		a, b := chain(t, row.a...), chain(t, row.b...)
		for _, pair := range [][2]oracle.Chain{{a, b}, {b, a}} {
			e := expect(t, pair[0], pair[1], row.opt)
			if e.Outcome.String() != row.outcome || e.Path != row.path {
				t.Errorf("%s: %s, %s (%s), want %s, %s", row.name, e.Outcome, e.Path, e.Why, row.outcome, row.path)
			}
			if e.Why == "" {
				t.Errorf("%s: no reason is given", row.name)
			}
		}
	}
}

// TestAStatefulFirewallIsAPortRestrictedCone holds it against every kind.
func TestAStatefulFirewallIsAPortRestrictedCone(t *testing.T) {
	for _, k := range kinds {
		fw := expect(t, chain(t, "fw:stateful"), behind(kind(k)), oracle.Options{})
		cone := expect(t, behind(kind("Ep")), behind(kind(k)), oracle.Options{})
		if fw != cone {
			t.Errorf("against %s a stateful firewall gives %v, a port-restricted cone %v", k, fw, cone)
		}
	}
}

func TestPathOfAnOutcome(t *testing.T) {
	for _, c := range []struct {
		outcome    oracle.Outcome
		split      bool
		techniques []oracle.Technique
		want       oracle.Path
	}{
		{oracle.Direct, false, nil, oracle.PathDirect},
		{oracle.Split, false, []oracle.Technique{oracle.Prediction, oracle.Birthday}, oracle.PathRelay},
		{oracle.Split, true, nil, oracle.PathDirect},
		{oracle.OneGuess, true, nil, oracle.PathRelay},
		{oracle.OneGuess, false, []oracle.Technique{oracle.Birthday}, oracle.PathDirect},
		{oracle.TwoIndependent, false, []oracle.Technique{oracle.Prediction}, oracle.PathDirect},
		{oracle.TwoJoint, true, []oracle.Technique{oracle.Birthday}, oracle.PathRelay},
		{oracle.TwoJoint, false, []oracle.Technique{oracle.Prediction}, oracle.PathDirect},
		{oracle.Blocked, true, []oracle.Technique{oracle.Prediction, oracle.Birthday}, oracle.PathRelay},
	} {
		if got := c.outcome.Path(c.split, c.techniques...); got != c.want {
			t.Errorf("%s with split paths %v and %v goes %s, want %s", c.outcome, c.split, c.techniques, got, c.want)
		}
	}
}

func TestExpectRefusesWhatCannotBe(t *testing.T) {
	for _, c := range []struct {
		name string
		a, b oracle.Chain
		want string
	}{
		{"an invalid behaviour", behind(nat.Behavior{Mapping: 9}), nil, "mapping:"},
		{"an invalid firewall", oracle.Chain{{Name: "office", Firewall: &nat.Firewall{Inbound: 7}}}, nil, "office: inbound:"},
		{"one router twice", chain(t, "home nat:linux", "home nat:linux"), nil, "stands twice"},
		{"one name, two routers", chain(t, "home nat:linux"), chain(t, "home nat:symmetric"), "differs between them"},
		{"one router, two ways from it", chain(t, "home nat:linux", "isp nat:linux"), chain(t, "home nat:linux"), "differs between them"},
	} {
		if _, err := oracle.Expect(c.a, c.b, oracle.Options{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: the error is %v, want %q in it", c.name, err, c.want)
		}
	}
}

// TestZones: lists count where they concern peers and servers, by name.
func TestZones(t *testing.T) {
	ports := func(p ...uint16) (all []nat.PortRange) {
		for _, n := range p {
			all = append(all, nat.PortRange{Low: n, High: n})
		}
		return all
	}
	type rule = nat.Rule[string]
	closed := func(rules ...rule) nat.Passage[string] { return nat.Passage[string]{Closed: true, Rules: rules} }
	router := func(name string, inbound nat.FirewallInbound, access nat.Access[string]) oracle.Chain {
		return oracle.Chain{{Name: name, Firewall: &nat.Firewall{Inbound: inbound}, Access: &access}}
	}
	replies, open := nat.InboundReplies, nat.InboundOpen
	all := []nat.PortRange{nat.AllPorts}
	dmz := func(access nat.Access[string]) oracle.Host {
		return oracle.Host{Name: "udp", Chain: router("dmz", replies, access)}
	}
	served := dmz(nat.Access[string]{Allow: []rule{{To: "udp", UDP: ports(3478)}}, Outbound: closed()})
	home := behind(nat.Behavior{Filtering: nat.AddressAndPortDependent})
	symmetric := behind(nat.Behavior{Mapping: nat.AddressAndPortDependent, Filtering: nat.AddressAndPortDependent})
	for _, row := range []struct {
		name              string
		a, b              oracle.Chain
		rendezvous, relay oracle.Host
		want              oracle.Path
	}{
		{"servers behind a hole", home, home, served, served, oracle.PathDirect},
		{"a relay behind a hole", symmetric, symmetric, served, served, oracle.PathRelay},
		{"no hole for UDP", home, home, dmz(nat.Access[string]{Allow: []rule{{To: "udp", TCP: ports(3478)}}}), oracle.Host{}, oracle.PathNone},
		{"a hole for another host", home, home, dmz(nat.Access[string]{Allow: []rule{{To: "agent", UDP: all}}}), oracle.Host{}, oracle.PathNone},
		{"a hole for one peer alone", home, home, dmz(nat.Access[string]{Allow: []rule{{From: "a", UDP: all}}}), oracle.Host{}, oracle.PathNone},
		{"no hole for the relay", symmetric, symmetric, oracle.Host{}, oracle.Host{Name: "relay", Chain: router("dmz", replies, nat.Access[string]{})}, oracle.PathNone},
		{"a peer that may not begin", router("office", open, nat.Access[string]{Outbound: closed()}), home, oracle.Host{}, oracle.Host{}, oracle.PathNone},
		{"a peer that may reach the servers alone", router("office", replies, nat.Access[string]{Outbound: closed(rule{UDP: ports(3478)})}), home, oracle.Host{}, oracle.Host{}, oracle.PathRelay},
		{"a peer that may reach the other's host candidate", router("office", replies, nat.Access[string]{Outbound: closed(rule{To: "b", UDP: all}, rule{UDP: ports(3478)})}), nil, oracle.Host{}, oracle.Host{}, oracle.PathDirect},
		{"two in one office", router("office", replies, nat.Access[string]{Between: closed(rule{From: "a", To: "b", UDP: all})}), router("office", replies, nat.Access[string]{Between: closed(rule{From: "a", To: "b", UDP: all})}), oracle.Host{}, oracle.Host{}, oracle.PathDirect},
		{"two in one office that are kept apart", router("office", replies, nat.Access[string]{Between: closed()}), router("office", replies, nat.Access[string]{Between: closed()}), oracle.Host{}, oracle.Host{}, oracle.PathRelay},
	} {
		opt := oracle.Options{Peers: [2]string{"a", "b"}, Rendezvous: row.rendezvous, Relay: row.relay}
		if e := expect(t, row.a, row.b, opt); e.Path != row.want {
			t.Errorf("%s: %s (%s), want %s", row.name, e.Path, e.Why, row.want)
		}
		opt.Peers = [2]string{"b", "a"}
		if e := expect(t, row.b, row.a, opt); e.Path != row.want {
			t.Errorf("%s, the other way round: %s (%s), want %s", row.name, e.Path, e.Why, row.want)
		}
	}
}

// TestChance: who comes first, and whose turn it is, may decide.
func TestChance(t *testing.T) {
	element := func(text string, addresses int) oracle.Chain {
		b, err := nat.ParseBehavior(text)
		if err != nil {
			t.Fatal(err)
		}
		return oracle.Chain{{NAT: &b, Addresses: addresses}}
	}
	cone := element("port-restricted-cone", 1)
	early := element("kind=masquerade,early-inbound=accept", 1)
	pool := element("mapping=APDM,filtering=APDF,ports=random,pooling=arbitrary", 2)
	for _, c := range []struct {
		name     string
		a, b     oracle.Chain
		path, or oracle.Path
	}{
		{"nothing to chance", cone, cone, oracle.PathDirect, ""},
		{"Linux that drops early packets", element("kind=masquerade", 1), cone, oracle.PathDirect, ""},
		{"Linux that takes them: direct if the probes cross", early, cone, oracle.PathRelay, oracle.PathDirect},
		{"the same before one that filters by nothing", early, element("full-cone", 1), oracle.PathDirect, ""},
		{"a pool before a filter by address: direct if it is the same one's turn", pool, element("mapping=EIM,filtering=ADF", 1), oracle.PathRelay, oracle.PathDirect},
		{"a pool before a filter by port", pool, cone, oracle.PathRelay, ""},
	} {
		for _, chains := range [][2]oracle.Chain{{c.a, c.b}, {c.b, c.a}} {
			e, err := oracle.Expect(chains[0], chains[1], oracle.Options{})
			if err != nil || e.Path != c.path || e.Or != c.or {
				t.Errorf("%s: %s or %q, %v; want %s or %q", c.name, e.Path, e.Or, err, c.path, c.or)
			}
		}
	}
}

// TestEveryPairOfPresets: whatever has a name has an outcome, beside the hardest NAT
// and beside blocks of a size that is named.
func TestEveryPairOfPresets(t *testing.T) {
	others := []string{"symmetric", "full-cone", "mapping=APDM,filtering=APDF,ports=block,block=64", "symmetric,delta=3,parity=keep",
		"mapping=APDM,filtering=APDF,ports=preserve,fallback=random", "symmetric,full=evict,size=8,rotate=1s", "linux-random"}
	for _, p := range nat.Presets() {
		for _, other := range others {
			b, err := nat.ParseBehavior(other)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := oracle.Expect(behind(p.Behavior), behind(b), oracle.Options{}); err != nil {
				t.Errorf("%s × %s: %v", p.Name, other, err)
			}
		}
	}
}
