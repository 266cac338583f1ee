package sim

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"p2pmodel/nat"
	"p2pmodel/sim/document"
)

// walls is a lab with a firewall of each kind, on routers and on hosts.
const walls = `lab:
  routers:
    office: {nat: linux, firewall: {preset: tcp-443-only, reject: out, tcp-reject: reset}}
    hotel: {firewall: "captive-portal,portal=30m"}
    plant: {firewall: udp-blocked}
  hosts:
    clerk: {behind: office}
    guest: {behind: hotel, firewall: stateful}
    phone: {uplinks: {wifi: {behind: hotel}, 4g: {}}, firewall: {udp: [3478], tcp: none}}
    server: {firewall: {inbound: replies, reject: in, allow: [{from: guest, tcp: [443]}, {to: server, udp: 3478}], outbound: [{from: server, to: guest, tcp: 22}]}}
`

func TestFirewallsAsDecoded(t *testing.T) {
	lab, err := ParseLab("lab.yaml", []byte(walls))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, r := range lab.Routers {
		got[r.Name] = r.Firewall.String()
	}
	for _, h := range lab.Hosts {
		if h.Firewall != nil {
			got[h.Name] = h.Firewall.String()
		}
	}
	want := map[string]string{
		"office": "inbound=replies,udp=none,tcp=443,other=none,reject=out,tcp-reject=reset",
		"hotel":  "inbound=replies,portal=30m",
		"plant":  "inbound=replies,udp=none",
		"guest":  "inbound=replies",
		"phone":  "inbound=open,udp=3478,tcp=none",
		"server": "inbound=replies,reject=in",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("decoded %v\nwant %v", got, want)
	}
	const line = `    server: {firewall: {inbound: replies, reject: in, allow: [{from: guest, tcp: [443]}, {to: server, udp: [3478]}], outbound: [{from: server, to: guest, tcp: [22]}]}}`
	if text := string(lab.YAML()); !strings.Contains(text, line) {
		t.Errorf("written:\n%s\nwant the line\n%s", text, line)
	}
	plan, err := lab.Plan()
	if err != nil {
		t.Fatal(err)
	}
	a := plan.Access("server")
	if guest := plan.Addresses("guest", DefaultUplink); !reflect.DeepEqual(a.Allow[0].From, guest) || a.Allow[0].To != nil {
		t.Errorf("the server's firewall lets in %v, want %v", a.Allow[0], guest)
	}
	if own := plan.Addresses("server", DefaultUplink); !reflect.DeepEqual(a.Outbound.Rules[0].From, own) || !reflect.DeepEqual(a.Allow[1].To, own) || a.Allow[1].From != nil {
		t.Errorf("the server is %v in its own lists, want %v", a.Outbound.Rules[0].From, own)
	}
}

func TestDrawingsShowFirewalls(t *testing.T) {
	lab, err := ParseLab("lab.yaml", []byte(walls))
	if err != nil {
		t.Fatal(err)
	}
	var wide, svg, mermaid bytes.Buffer
	if err := errors.Join(lab.Draw(&wide, 0, false), lab.SVG(&svg), lab.Mermaid(&mermaid)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"firewall, captive portal for 30m, replies only",
		"firewall, replies only, no UDP out, TCP out to 443, nothing else out, tells inside, resets TCP",
		"server                198.18.0.8     firewall, replies only, tells outside  in: guest → any TCP 443  in: any → server UDP 3478  out: server → guest TCP 22",
		"firewall, UDP out to 3478, no TCP out",
	} {
		if !strings.Contains(wide.String(), want) {
			t.Errorf("drawn:\n%s\nwant in it:\n%s", wide.String(), want)
		}
	}
	for name, drawing := range map[string]string{"SVG": svg.String(), "Mermaid": mermaid.String()} {
		for _, want := range []string{"captive portal for 30m", "no TCP out", "guest → any TCP 443"} {
			if !strings.Contains(drawing, want) {
				t.Errorf("the %s drawing lacks %q:\n%s", name, want, drawing)
			}
		}
	}
}

// TestMistakesInFirewalls: each row is a lab on one line, which is the second, and
// how the error begins.
func TestMistakesInFirewalls(t *testing.T) {
	for _, tt := range []struct{ lab, want string }{
		{"{routers: {r: {firewall: statefull}}}", `unknown firewall "statefull"; did you mean "stateful"?`},
		{"{routers: {r: {firewall: {preset: udp-block}}}}", `unknown firewall "udp-block"; did you mean "udp-blocked"?`},
		{"{routers: {r: {firewall: {rejct: out}}}}", `unknown key "rejct"; did you mean "reject"?`},
		{"{routers: {r: {firewall: {reject: loud}}}}", `reject: "loud" is not valid; it takes none, out, in, both`},
		{"{routers: {r: {firewall: {portal: soon}}}}", `portal: "soon" is not valid; it takes off, on, or how long a login lasts`},
		{"{routers: {r: {firewall: {tcp-reject: reset}}}}", `router "r": firewall: tcp-reject: reset goes with reject=out or reject=both only`},
		{"{routers: {r: {firewall: {tcp: [0]}}}}", `0 is not between 1 and 65535`},
		{"{hosts: {a: {firewall: captive-portal}}}", `host "a": firewall: portal: a host's own firewall has nobody behind it`},
		{"{hosts: {a: {firewall: {between: none}}}}", `host "a": firewall: between: behind a host's own firewall is that host alone`},
		{"{hosts: {a: {firewall: {inbound: replies, allow: [{from: a, tcp: 1}]}}}}", `host "a": firewall: allow, rule 1: from: host "a" cannot be outside of its own firewall`},
		{"{hosts: {a: {firewall: {inbound: replies, allow: [{to: b, tcp: 1}]}}, b: {}}}", `host "a": firewall: allow, rule 1: to: behind a host's own firewall is that host alone, and not "b"`},
		{"{routers: {n: {nat: linux}}, hosts: {a: {firewall: {outbound: [{to: b, tcp: 1}]}}, b: {behind: n}}}", `host "a": firewall: outbound, rule 1: to: between this host and host "b" stands the NAT "n"`},
		{"{routers: {r: {firewall: {tcp: 443, other: none, outbound: none}}}}", `router "r": firewall: outbound: tcp, other say already what may leave`},
	} {
		_, err := ParseLab("lab.yaml", []byte(fmt.Sprintf("lab:\n  %s\n", tt.lab)))
		var all document.Errors
		if !errors.As(err, &all) {
			t.Errorf("%s: no error with a place, but: %v", tt.lab, err)
			continue
		}
		if all[0].Line != 2 || all[0].Column < 10 || !strings.Contains(all[0].Message, tt.want) {
			t.Errorf("%s\ngot: %v\nwant at line 2: %s", tt.lab, err, tt.want)
		}
	}
	if err := (&Lab{Hosts: []Host{{Name: "a", Uplinks: []Uplink{{Name: DefaultUplink}}, Access: &Access{Outbound: Passage{Closed: true}}}}}).Validate(); err == nil || !strings.Contains(err.Error(), "no firewall") {
		t.Errorf("lists without a firewall: %v", err)
	}
	for _, p := range nat.FirewallPresets() {
		if _, err := ParseLab("lab.yaml", []byte("lab: {routers: {r: {firewall: "+p.Name+"}}}")); err != nil {
			t.Errorf("%s: %v", p.Name, err)
		}
	}
}
