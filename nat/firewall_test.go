package nat_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"pgregory.net/rapid"

	"p2pmodel/nat"
)

func TestFirewallForms(t *testing.T) {
	for _, c := range []struct{ yaml, want, err string }{
		{yaml: "fw: stateful", want: "inbound=replies"},
		{yaml: "fw: open", want: "inbound=open"},
		{yaml: "fw: UDP-Blocked", want: "inbound=replies,udp=none"},
		{yaml: "fw: tcp-443-only", want: "inbound=replies,udp=none,tcp=443,other=none"},
		{yaml: "fw: captive-portal", want: "inbound=replies,portal=on"},
		{yaml: "fw: inbound=replies,udp=3478", want: "inbound=replies,udp=3478"},
		{yaml: "fw: stateful,udp=none", want: "inbound=replies,udp=none"},
		{yaml: "fw: tcp-443-only,tcp=443+80,reject=out,tcp-reject=reset", want: "inbound=replies,udp=none,tcp=80+443,other=none,reject=out,tcp-reject=reset"},
		{yaml: "fw: captive-portal,portal=90s,reject=both", want: "inbound=replies,reject=both,portal=1m30s"},
		{yaml: "fw: {inbound: replies, udp: [5349, 3478, 3478]}", want: "inbound=replies,udp=3478+5349"},
		{yaml: "fw: {inbound: replies, udp: 3478}", want: "inbound=replies,udp=3478"},
		{yaml: "fw: {preset: tcp-443-only, tcp: [443, 8443], other: all}", want: "inbound=replies,udp=none,tcp=443+8443"},
		{yaml: "fw: {portal: true, reject: in}", want: "inbound=open,reject=in,portal=on"},
		{yaml: "fw: {portal: false, tcp: none}", want: "inbound=open,tcp=none"},
		{yaml: "fw: {udp: []}", want: "inbound=open,udp=none"},
		{yaml: "fw: {udp: all}", want: "inbound=open"},
		{yaml: "fw: {outbound: all}", err: `did you mean "inbound"?`},
		{yaml: "fw: statefull", err: `unknown firewall "statefull"; did you mean "stateful"?`},
		{yaml: "fw: tcp-433-only", err: `did you mean "tcp-443-only"?`},
		{yaml: "fw: {preset: captive-protal}", err: `did you mean "captive-portal"?`},
		{yaml: "fw: inbound=replies,stateful", err: "a name stands first"},
		{yaml: "fw: open,udp=1,udp=2", err: "udp is given twice"},
		{yaml: "fw: open,rejekt=out", err: `did you mean "reject"?`},
		{yaml: "fw: {udp: 70000}", err: "ports joined by +"},
		{yaml: "fw: {inbound: none}", err: "it takes open, replies"},
		{yaml: "fw: {other: 7}", err: `other: "7" is not valid; it takes all, none`},
		{yaml: "fw: {reject: yes}", err: "it takes none, out, in, both"},
		{yaml: "fw: {tcp-reject: rst}", err: "it takes icmp, reset"},
		{yaml: "fw: {reject: in, tcp-reject: reset}", err: "tcp-reject: reset goes with reject=out or reject=both only"},
		{yaml: "fw: {portal: 1ms}", err: "portal: \"1ms\" is not valid; it takes off, on, or how long a login lasts"},
		{yaml: "fw: {portal: 1000h}", err: "portal:"},
	} {
		var doc struct{ FW nat.Firewall }
		err := yaml.Unmarshal([]byte(c.yaml), &doc)
		switch {
		case c.err != "":
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%q says %v, want %q in it", c.yaml, err, c.err)
			}
		case err != nil:
			t.Errorf("%q: %v", c.yaml, err)
		case doc.FW.String() != c.want:
			t.Errorf("%q = %s, want %s", c.yaml, doc.FW, c.want)
		default:
			if again, err := nat.ParseFirewall(doc.FW.String()); err != nil || again.String() != c.want {
				t.Errorf("%q does not read back: %v, %v", c.want, again, err)
			}
		}
	}
}

func TestFirewallNamesEveryInvalidKey(t *testing.T) {
	bad := nat.Firewall{
		Inbound: 9, OutboundUDP: []uint16{5, 4}, OutboundTCP: []uint16{0}, Reject: 7, ResetTCP: true,
		Portal: nat.Portal{Session: time.Hour},
	}
	err := bad.Validate()
	for _, key := range nat.FirewallKeys() {
		if key != nat.FirewallKeyOther && (err == nil || !slices.ContainsFunc(strings.Split(err.Error(), "\n"), func(line string) bool { return strings.HasPrefix(line, key+": ") })) {
			t.Errorf("Validate says %v, want %s named", err, key)
		}
	}
}

func TestFirewallPresets(t *testing.T) {
	for _, p := range nat.FirewallPresets() {
		got, err := nat.ParseFirewall(p.Name)
		if err != nil || got.String() != p.Firewall.String() || p.Title == "" {
			t.Errorf("%s gives %v, %v", p.Name, got, err)
		}
	}
	only := nat.FirewallPresets()[3].Firewall
	for port, want := range map[uint16]bool{443: true, 80: false, 53: false} {
		if only.AllowsTCP(port) != want || only.AllowsUDP(port) {
			t.Errorf("%v at port %d: TCP may leave: %v, UDP: %v", only, port, only.AllowsTCP(port), only.AllowsUDP(port))
		}
	}
}

func TestEveryFirewallReadsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ports := func(name string) []uint16 {
			return rapid.SampledFrom([][]uint16{nil, {}, {443}, {53, 3478, 65535}}).Draw(t, name)
		}
		f := nat.Firewall{
			Inbound:     nat.FirewallInbound(rapid.IntRange(0, 1).Draw(t, "inbound")),
			OutboundUDP: ports("udp"), OutboundTCP: ports("tcp"), KeepOther: rapid.Bool().Draw(t, "other"),
			Reject: nat.Rejection(rapid.IntRange(0, 3).Draw(t, "reject")),
		}
		f.ResetTCP = f.Reject.Leaving() && rapid.Bool().Draw(t, "reset")
		if f.Portal.On = rapid.Bool().Draw(t, "portal"); f.Portal.On && rapid.Bool().Draw(t, "session") {
			f.Portal.Session = time.Duration(rapid.Int64Range(int64(nat.MinTimeout), int64(nat.MaxSession)).Draw(t, "lasts"))
		}
		again, err := nat.ParseFirewall(f.String())
		if err != nil || again.String() != f.String() || !slices.Equal(again.OutboundTCP, f.OutboundTCP) || again.Portal != f.Portal {
			t.Fatalf("%s reads back as %s, %v", f, again, err)
		}
	})
}

func FuzzParseFirewall(f *testing.F) {
	for _, seed := range []string{
		"open", "stateful", "inbound=replies,udp=3478+443", "udp=none", "stateful,udp=all", "udp=+", "tcp-443-only,reject=both,tcp-reject=reset",
		"captive-portal,portal=30m", "udp-blocked,other=none", "portal=off,tcp=1+65535",
	} {
		f.Add(seed)
	}
	for _, p := range nat.FirewallPresets() {
		f.Add(p.Name)
	}
	f.Fuzz(func(t *testing.T, text string) {
		fw, err := nat.ParseFirewall(text)
		if err != nil {
			return
		}
		if err := fw.Validate(); err != nil {
			t.Fatalf("%q was read, yet is invalid: %v", text, err)
		}
		again, err := nat.ParseFirewall(fw.String())
		if err != nil || again.String() != fw.String() {
			t.Fatalf("%q gives %s, which reads back as %s, %v", text, fw, again, err)
		}
	})
}
