package sim

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"p2pmodel/nat"
	"p2pmodel/sim/document"
	"p2pmodel/sim/link"
)

// example has every part that a lab's file may have.
const example = `lab:
  routers:
    nat-a: {nat: full-cone}
    carrier: {nat: {mapping: APDM, filtering: APDF, ports: random}, addresses: 2}
    home: {nat: port-restricted-cone, behind: carrier}
    phone-nat: {nat: "symmetric,ports=random", behind: carrier}
    hard: {nat: {preset: symmetric, timeout: 5s, range: 2000-3000}}
    fw: {firewall: {inbound: replies, udp: [3478, 443]}}
    closed: {firewall: "inbound=replies,udp=none", behind: fw}
    plain:
  hosts:
    a: {behind: nat-a}
    m: {uplinks: {4g: {behind: phone-nat}, wifi: {behind: home}}, active: wifi}
    rendezvous: {addresses: 2, behind: internet}
    relay:
  links:
    a: {delay: 20ms, jitter: 5ms, loss: 1%, rate: 50Mbit, reorder: true}
    m/wifi: {up: {delay: 5ms}, down: {rate: 20Mbit, queue: 64kB}}
    m/4g: {delay: 30ms, down: {loss: 0.5%}}
    home: {delay: 1ms}
`

func exampleLab() *Lab {
	hard := nat.Behavior{Mapping: nat.AddressAndPortDependent, Filtering: nat.AddressAndPortDependent, Ports: nat.Random}
	timed := nat.Behavior{
		Mapping: nat.AddressAndPortDependent, Filtering: nat.AddressAndPortDependent, Ports: nat.Sequential,
		Timeout: 5 * time.Second, Range: nat.PortRange{Low: 2000, High: 3000},
	}
	ms := time.Millisecond
	both := link.Impairment{Delay: 20 * ms, Jitter: 5 * ms, Loss: 0.01, Rate: 50_000_000, Reorder: true}
	return &Lab{
		Routers: []Router{
			{Name: "nat-a", NAT: &nat.Behavior{}, Preset: "full-cone"},
			{Name: "carrier", NAT: &hard, Addresses: 2},
			{Name: "home", NAT: &nat.Behavior{Filtering: nat.AddressAndPortDependent}, Preset: "port-restricted-cone", Behind: "carrier"},
			{Name: "phone-nat", NAT: &hard, Behind: "carrier"},
			{Name: "hard", NAT: &timed},
			{Name: "fw", Firewall: &nat.Firewall{Inbound: nat.InboundReplies, OutboundUDP: []uint16{443, 3478}}},
			{Name: "closed", Firewall: &nat.Firewall{Inbound: nat.InboundReplies, OutboundUDP: []uint16{}}, Behind: "fw"},
			{Name: "plain"},
		},
		Hosts: []Host{
			{Name: "a", Uplinks: []Uplink{{DefaultUplink, "nat-a"}}},
			{Name: "m", Uplinks: []Uplink{{"4g", "phone-nat"}, {"wifi", "home"}}, Active: "wifi"},
			{Name: "rendezvous", Uplinks: []Uplink{{DefaultUplink, ""}}, Addresses: 2},
			{Name: "relay", Uplinks: []Uplink{{DefaultUplink, ""}}},
		},
		Links: []Link{
			{Node: "a", Up: both, Down: both},
			{Node: "m", Uplink: "wifi", Up: link.Impairment{Delay: 5 * ms}, Down: link.Impairment{Rate: 20_000_000, Queue: 64_000}},
			{Node: "m", Uplink: "4g", Up: link.Impairment{Delay: 30 * ms}, Down: link.Impairment{Delay: 30 * ms, Loss: 0.005}},
			{Node: "home", Up: link.Impairment{Delay: ms}, Down: link.Impairment{Delay: ms}},
		},
	}
}

func TestLabAsDecoded(t *testing.T) {
	got, err := ParseLab("lab.yaml", []byte(example))
	if err != nil {
		t.Fatal(err)
	}
	if want := exampleLab(); !reflect.DeepEqual(got, want) {
		t.Errorf("decoded:\n%s\nwant:\n%s", got.YAML(), want.YAML())
	}
}

func TestLabReadsBackAsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lab := labs().Draw(t, "lab")
		got, err := ParseLab("lab.yaml", lab.YAML())
		if err != nil {
			t.Fatalf("%v\nin:\n%s", err, lab.YAML())
		}
		if !reflect.DeepEqual(got, lab) {
			t.Fatalf("wrote:\n%s\nread:\n%s", lab.YAML(), got.YAML())
		}
	})
}

// TestMistakesInLabs lists what a person may get wrong; each row is the part of
// a file below its first line, `lab:`, and how each line of the error begins.
func TestMistakesInLabs(t *testing.T) {
	for _, test := range []struct{ name, lab, want string }{
		{"nothing", "{}", `1:1: the lab is empty: it needs hosts or routers`},
		{"unknown section", "host: {a: }", `2:3: unknown key "host"; did you mean "hosts"?`},
		{"unknown key of a router", "routers: {r: {nta: linux}}", `2:17: unknown key "nta"; did you mean "nat"?`},
		{"unknown preset", "routers: {r: {nat: full-con}}", `2:22: nat: unknown NAT preset "full-con"; did you mean "full-cone"?`},
		{"unknown axis", "routers: {r: {nat: {maping: EIM}}}", `2:23: unknown key "maping"; did you mean "mapping"?`},
		{"wrong value of an axis", "routers: {r: {nat: {mapping: APDM, ports: randm}}}", `2:45: ports: "randm" is not valid`},
		{"nat without a value", "routers: {r: {nat: }}", `2:17: nat: want text, got null`},
		{"nat of nothing", "routers: {r: {nat: {}}}", `2:22: nat: name a preset or axes`},
		{"dangling name", "routers: {home: {nat: linux}}\nhosts: {a: {behind: hoem}}", `3:23: host "a": there is no router "hoem"; did you mean "home"?`},
		{"behind a host", "hosts: {a: , b: {behind: a}}", `2:28: host "b": "a" is a host; only routers have something behind them`},
		{"one name twice", "routers: {a: {nat: linux}}\nhosts: {a: }", `3:11: "a" is the name of a router and of a host; names are unique over both`},
		{"the root's name", "hosts: {internet: }", `2:11: a host is called "internet"`},
		{"bad name", "hosts: {a.b: }", `2:11: host "a.b": a name starts with a letter or digit and has letters, digits, - and _ only`},
		{"loop", "routers:\n  a: {behind: b}\n  b: {behind: c}\n  c: {behind: a}\n  d: {behind: a}",
			`3:17: router "a" stands behind itself: a behind b behind c behind a`},
		{"no uplinks", "hosts: {a: {uplinks: {}}}", `2:24: host "a": it needs at least one uplink`},
		{"two places", "routers: {r: {}}\nhosts: {a: {behind: r, uplinks: {x: {}}}}", `3:15: host "a" has uplinks`},
		{"active uplink", "hosts: {a: {uplinks: {wifi: {}, 4g: {}}, active: wfi}}",
			`2:52: host "a": the active uplink "wfi" is not one of its uplinks; did you mean "wifi"?`},
		{"dangling uplink", "hosts: {a: {uplinks: {wifi: {behind: x}}}}", `2:40: host "a", uplink "wifi": there is no router "x"`},
		{"many addresses", "hosts: {a: {addresses: 17}}", `2:26: addresses: 17 is not between 1 and 16`},
		{"addresses without NAT", "routers: {r: {addresses: 2}}", `2:28: router "r": several addresses are for NAT to choose from, and it has none`},
		{"firewall ports", "routers: {r: {firewall: {udp: [0]}}}", `2:34: udp: 0 is not between 1 and 65535`},
		{"firewall policy", "routers: {r: {firewall: {inbound: close}}}", `2:37: inbound: "close" is not valid`},
		{"firewall of nothing", "routers: {r: {firewall: {}}}", `2:27: firewall: name what it does`},
		{"link of nothing", "hosts: {server: }\nlinks: {sever: {delay: 1ms}}", `3:11: link "sever": there is no host or router "sever"; did you mean "server"?`},
		{"link of a router's uplink", "routers: {r: }\nlinks: {r/wan: {delay: 1ms}}", `3:11: link "r/wan": a router has one uplink only; name the link "r"`},
		{"which uplink", "hosts: {m: {uplinks: {x: {}, y: {}}}}\nlinks: {m: {delay: 1ms}}", `3:11: link "m": host "m" has several uplinks; name one, as "m/x"; known: x, y`},
		{"no such uplink", "hosts: {m: {uplinks: {wifi: {}, y: {}}}}\nlinks: {m/wifl: {delay: 1ms}}", `3:11: link "m/wifl": host "m" has no uplink "wifl"; did you mean "wifi"?`},
		{"link twice", "hosts: {a: }\nlinks: {a: {}, a/uplink: {}}", `3:18: link "a": this link is there twice`},
		{"jitter over delay", "hosts: {a: }\nlinks: {a: {delay: 1ms, jitter: 2ms}}", `3:35: link "a": jitter 2ms is not between 0s and the delay, 1ms`},
		{"jitter over delay, one direction", "hosts: {a: }\nlinks: {a: {delay: 2ms, jitter: 2ms, up: {delay: 1ms}}}", `3:40: link "a" up: jitter 2ms is not between 0s and the delay, 1ms`},
		{"reorder alone", "hosts: {a: }\nlinks: {a: {delay: 1ms, reorder: true}}", `3:36: link "a": without jitter nothing is reordered; set jitter`},
		{"loss", "hosts: {a: }\nlinks: {a: {loss: 200%}}", `3:21: loss: want a probability, as 2% or 0.02, got "200%"`},
		{"rate too small", "hosts: {a: }\nlinks: {a: {rate: 10bit}}", `3:21: link "a": rate 10bit is not between 1kbit and 1Tbit`},
		{"queue without rate", "hosts: {a: }\nlinks: {a: {queue: 3000}}", `3:22: link "a": a queue needs a rate or a trace; without one nothing waits`},
		{"profile", "hosts: {a: }\nlinks: {a: 4gg}", `3:14: unknown link profile "4gg"; did you mean "4g"?`},
		{"profile of another delay", "hosts: {a: }\nlinks: {a: {profile: 4g, delay: 5ms}}", `3:11: link "a": jitter 10ms is not between 0s and the delay, 5ms`},
		{"misspelt key", "hosts: {a: }\nlinks: {a: {duplikate: 1%}}", `3:15: unknown key "duplikate"; did you mean "duplicate"?`},
		{"correlation without jitter", "hosts: {a: }\nlinks: {a: {delay: 5ms, jitter-correlation: 25%}}", `3:47: link "a": jitter-correlation is nothing without jitter`},
		{"distribution", "hosts: {a: }\nlinks: {a: {delay: 5ms, jitter: 1ms, distribution: norml}}", `3:54: unknown distribution "norml"; did you mean "normal"?`},
		{"overtake without delay", "hosts: {a: }\nlinks: {a: {overtake: 5%}}", `3:25: link "a": overtake is nothing without delay`},
		{"loss twice", "hosts: {a: }\nlinks: {a: {loss: 1%, burst: {loss: 5%, length: 8}}}", `3:32: link "a": burst: loss 0.01 is there as well`},
		{"bursts too near", "hosts: {a: }\nlinks: {a: {burst: {loss: 90%, length: 2}}}", `3:22: link "a": burst: so much loss cannot come in bursts of 2 packets`},
		{"burst of all", "hosts: {a: }\nlinks: {a: {burst: {loss: 100%, length: 2}}}", `3:29: burst: a loss of 100% comes in no bursts`},
		{"burst in two words", "hosts: {a: }\nlinks: {a: {burst: {loss: 5%, length: 2, p: 1%}}}", `3:44: burst: p is one of p, r, bad, good`},
		{"half a burst", "hosts: {a: }\nlinks: {a: {burst: {p: 5%}}}", `3:15: "r" is missing`},
		{"trace that is not there", "hosts: {a: }\nlinks: {a: {trace: none.trace}}", `3:22: trace: none.trace: no such file or directory (a path is relative to the file that names it)`},
		{"trace of a folder", "hosts: {a: }\nlinks: {a: {trace: testdata}}", `3:22: trace: testdata is no regular file`},
		{"trace that is none", "hosts: {a: }\nlinks: {a: {trace: lab.go}}", `3:22: trace: lab.go:1: "// Package sim describes a laboratory ne…" is no time in whole milliseconds`},
		{"trace and rate", "hosts: {a: }\nlinks: {a: {trace: testdata/lte.trace, rate: 1Mbit}}", `3:22: link "a": trace: a rate is there as well`},
		{"MTU", "hosts: {a: }\nlinks: {a: {mtu: 9000}}", `3:20: mtu: 9000 is not between 576 and 1500`},
		{"MTU without a size", "hosts: {a: }\nlinks: {a: {mtu: {icmp: false}}}", `3:15: "size" is missing`},
		{"delay too long", "hosts: {a: }\nlinks: {a: {delay: 2m}}", `3:22: link "a": delay 2m0s is not between 0s and 1m0s`},
		{"too many in a row", row(MaxChain + 2), `33:19: router "r30" is number 31 in a row to internet; the most is 30`},
		{"one mistake, one message", "routers: {r: {nat: full-con, addresses: 2}}\nhosts: {a: {behind: r}}", `2:22: nat: unknown NAT preset "full-con"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			file := "lab:\n  " + strings.ReplaceAll(test.lab, "\n", "\n  ")
			_, err := ParseLab("lab.yaml", []byte(file))
			var all document.Errors
			if !errors.As(err, &all) {
				t.Fatalf("no error with a place, but: %v", err)
			}
			got, want := strings.Split(err.Error(), "\n"), strings.Split(test.want, "\n")
			for i := range max(len(got), len(want)) {
				if i >= len(got) || i >= len(want) || !strings.HasPrefix(got[i], "lab.yaml:"+want[i]) {
					t.Fatalf("file:\n%s\ngot:\n%v\nwant, each line from its beginning:\n%s", file, err, test.want)
				}
			}
		})
	}
}

// row gives n routers, each behind the one before.
func row(n int) string {
	lines := []string{"routers:", "  r0: {}"}
	for i := 1; i < n; i++ {
		lines = append(lines, fmt.Sprintf("  r%d: {behind: r%d}", i, i-1))
	}
	return strings.Join(lines, "\n")
}
