package sim

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"p2pmodel/nat"
	"p2pmodel/sim/document"
)

// zones is Internet | DMZ | internal network, with a NAT in front of a client
// and a host that has a leg on either side.
const zones = `lab:
  routers:
    home: {nat: linux}
    dmz: {firewall: {inbound: replies, allow: [{to: agent, tcp: [443]}, {to: udp, udp: [49152-65535, 3478]}]}}
    inside:
      behind: dmz
      firewall: {inbound: replies, allow: [{from: agent, to: nats, tcp: 4222}], outbound: none, between: [{from: admin, tcp: all}]}
  hosts:
    client: {behind: home}
    agent: {behind: dmz}
    udp: {behind: dmz, addresses: 2}
    nats: {behind: inside}
    admin: {uplinks: {far: {behind: dmz}, near: {behind: inside}}}
`

func TestZonesAsDecoded(t *testing.T) {
	lab, err := ParseLab("lab.yaml", []byte(zones))
	if err != nil {
		t.Fatal(err)
	}
	r, _ := lab.Router("inside")
	want := &Access{
		Allow:    []Rule{{From: "agent", To: "nats", TCP: []nat.PortRange{{Low: 4222, High: 4222}}}},
		Outbound: Passage{Closed: true},
		Between:  Passage{Closed: true, Rules: []Rule{{From: "admin", TCP: []nat.PortRange{nat.AllPorts}}}},
	}
	if !reflect.DeepEqual(r.Access, want) {
		t.Errorf("decoded %+v\nwant %+v", r.Access, want)
	}
	const line = `    dmz: {firewall: {inbound: replies, allow: [{to: agent, tcp: [443]}, {to: udp, udp: [3478, 49152-65535]}]}}`
	if text := string(lab.YAML()); !strings.Contains(text, line) {
		t.Errorf("written:\n%s\nwant the line\n%s", text, line)
	}
}

// TestAccessByAddress: lists are resolved to what the router sees, and to the
// legs of a host that are on the side in question.
func TestAccessByAddress(t *testing.T) {
	lab, err := ParseLab("lab.yaml", []byte(zones))
	if err != nil {
		t.Fatal(err)
	}
	plan, err := lab.Plan()
	if err != nil {
		t.Fatal(err)
	}
	dmz, inside := plan.Access("dmz"), plan.Access("inside")
	for _, tt := range []struct {
		what      string
		got, want []netip.Addr
	}{
		{"anyone", dmz.Allow[0].From, nil},
		{"the agent", dmz.Allow[0].To, plan.Addresses("agent", DefaultUplink)},
		{"a host with two addresses", dmz.Allow[1].To, plan.Addresses("udp", DefaultUplink)},
		{"the agent, from outside", inside.Allow[0].From, plan.Addresses("agent", DefaultUplink)},
		{"the near leg", inside.Between.Rules[0].From, plan.Addresses("admin", "near")},
	} {
		if !reflect.DeepEqual(tt.got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.what, tt.got, tt.want)
		}
	}
	if a := plan.Access("home"); !a.IsZero() {
		t.Errorf("a router without lists has %v", a)
	}
}

func TestDrawingsShowZones(t *testing.T) {
	lab, err := ParseLab("lab.yaml", []byte(zones))
	if err != nil {
		t.Fatal(err)
	}
	var wide, svg, mermaid bytes.Buffer
	if err := errors.Join(lab.Draw(&wide, 0, false), lab.SVG(&svg), lab.Mermaid(&mermaid)); err != nil {
		t.Fatal(err)
	}
	const want = "198.18.0.4              firewall, replies only  in: agent → nats TCP 4222  nothing out  between: admin → any TCP all"
	if !strings.Contains(wide.String(), want) {
		t.Errorf("drawn:\n%s\nwant in it:\n%s", wide.String(), want)
	}
	for name, drawing := range map[string]string{"SVG": svg.String(), "Mermaid": mermaid.String()} {
		if !strings.Contains(drawing, "nothing out") || !strings.Contains(drawing, "agent → nats") {
			t.Errorf("the %s drawing shows no lists:\n%s", name, drawing)
		}
	}
}

// TestMistakesInZones: each row is a firewall of the router inside, in the lab of
// zones, and how the error begins behind the line, which is 5.
func TestMistakesInZones(t *testing.T) {
	for _, tt := range []struct{ name, firewall, want string }{
		{"unknown key", "{inbound: replies, alow: []}", `unknown key "alow"; did you mean "allow"?`},
		{"unknown key of a rule", "{inbound: replies, allow: [{too: nats, tcp: 1}]}", `unknown key "too"; did you mean "to"?`},
		{"unknown host", "{inbound: replies, allow: [{to: nast, tcp: 1}]}", `router "inside": firewall: allow, rule 1: to: there is no host "nast"; did you mean "nats"?`},
		{"a router", "{inbound: replies, allow: [{from: home, tcp: 1}]}", `router "inside": firewall: allow, rule 1: from: "home" is a router; lists name hosts`},
		{"not behind", "{inbound: replies, allow: [{to: agent, tcp: 1}]}", `router "inside": firewall: allow, rule 1: to: host "agent" is not behind this router`},
		{"behind", "{inbound: replies, allow: [{from: nats, tcp: 1}]}", `router "inside": firewall: allow, rule 1: from: host "nats" is behind this router, and must be outside here`},
		{"behind a NAT", "{outbound: [{tcp: 2}, {to: client, tcp: 1}]}", `router "inside": firewall: outbound, rule 2: to: between this router and host "client" stands the NAT "home"`},
		{"itself", "{between: [{from: nats, to: nats, tcp: 1}]}", `router "inside": firewall: between, rule 1: from and to are the same host, "nats"`},
		{"no ports", "{inbound: replies, allow: [{to: nats}]}", `router "inside": firewall: allow, rule 1: it names no ports, as in tcp: [443] or udp: all`},
		{"no port", "{inbound: replies, allow: [{to: nats, tcp: [0]}]}", `tcp: "0" is not valid; it takes a port or a range of ports`},
		{"upside down", "{inbound: replies, allow: [{to: nats, udp: [9-1]}]}", `udp: "9-1" is not valid`},
		{"too high", "{inbound: replies, allow: [{to: nats, udp: 65536}]}", `udp: "65536" is not valid`},
		{"overlap", "{inbound: replies, allow: [{to: nats, udp: [5, 1-9]}]}", `router "inside": firewall: allow, rule 1: udp: 1-9 and 5 overlap`},
		{"no list", "{inbound: replies, allow: all}", `allow: want a list ([a, b]), got "all"`},
		{"empty list", "{outbound: []}", `outbound: the list is empty`},
		{"empty ports", "{outbound: [{tcp: []}]}", `tcp: the list is empty`},
		{"unknown word", "{outbound: nothing}", `unknown outbound "nothing"`},
		{"a mapping", "{between: {to: nats}}", `between: want all, none or a list of rules`},
		{"nothing closed", "{allow: [{to: nats, tcp: 1}]}", `router "inside": firewall: allow: it opens holes, and nothing is closed: set inbound: replies`},
		{"said twice", "{udp: [53], outbound: none}", `router "inside": firewall: outbound: udp says already what may leave`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := fmt.Sprintf("lab:\n  routers:\n    home: {nat: linux}\n    dmz: {}\n    inside: {behind: dmz, firewall: %s}\n"+
				"  hosts: {client: {behind: home}, agent: {behind: dmz}, nats: {behind: inside}}\n", tt.firewall)
			_, err := ParseLab("lab.yaml", []byte(file))
			var all document.Errors
			if !errors.As(err, &all) {
				t.Fatalf("no error with a place, but: %v", err)
			}
			if all[0].Line != 5 || all[0].Column < 30 || !strings.HasPrefix(all[0].Message, tt.want) {
				t.Errorf("file:\n%s\ngot: %v\nwant at line 5: %s", file, err, tt.want)
			}
		})
	}
}

func TestMistakesInAccessInGo(t *testing.T) {
	on := []Host{{Name: "a", Uplinks: []Uplink{{DefaultUplink, "r"}}}}
	rules := []Rule{{To: "a", TCP: []nat.PortRange{{Low: 2, High: 1}}}}
	for _, tt := range []struct {
		router Router
		want   string
	}{
		{Router{Access: &Access{Outbound: Passage{Closed: true}}}, `router "r": it has lists of a firewall, but no firewall`},
		{Router{Firewall: &nat.Firewall{}, Access: &Access{}}, `router "r": firewall: its lists are empty: leave them out`},
		{Router{Firewall: &nat.Firewall{}, Access: &Access{Between: Passage{Rules: rules}}}, `router "r": firewall: between: it has rules, but is not closed`},
		{Router{Firewall: &nat.Firewall{Inbound: nat.InboundReplies}, Access: &Access{Allow: rules}}, `router "r": firewall: allow, rule 1: tcp: 2-1 is no range of ports`},
	} {
		tt.router.Name = "r"
		err := (&Lab{Hosts: on, Routers: []Router{tt.router}}).Validate()
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("got: %v\nwant: %s", err, tt.want)
		}
	}
}
