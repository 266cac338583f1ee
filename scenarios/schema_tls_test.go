package scenarios

import (
	"strings"
	"testing"
)

// TestTLS: the port at which servers are reached over TLS, by parser and schema.
func TestTLS(t *testing.T) {
	const text = `
id: TLS
title: Servers over TLS
lab:
  hosts: {a: {}, b: {}, rendezvous: {}, relay: {}}
rendezvous: rendezvous
relay: relay
tls: 443
peers: {a: {host: a}, b: {host: b}}
connect: [[a, b]]
expect: {path: direct}
`
	schema := compiled(t)
	for _, c := range []struct {
		name, old, new string
		want           string // part of the mistake; empty: there is none
		schemaSilent   bool
	}{
		{name: "as it is"},
		{name: "without", old: "tls: 443\n"},
		{name: "another port", old: "443", new: "8443"},
		{name: "no port", old: "443", new: "0", want: "0"},
		{name: "too large", old: "443", new: "65536", want: "65536"},
		{name: "a word", old: "443", new: "yes please", want: "yes please"},
		{name: "with programs", old: "tls:", new: "programs: {p: {host: a, run: sleep 1}}\ntls:", want: "goes with a rendezvous, a relay and peers of our own", schemaSilent: true},
		{name: "with peers of others", old: "{a: {host: a}, b: {host: b}}", new: "{a: {host: a, run: x}, b: {host: b, run: x}}", want: "goes with a rendezvous, a relay and peers of our own", schemaSilent: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := text
			if c.old != "" {
				file = strings.Replace(text, c.old, c.new, 1)
			}
			sc, err := Parse("tls.yaml", []byte(file))
			switch {
			case c.want == "" && err != nil:
				t.Fatal(err)
			case c.want == "" && (sc.TLS != 0) != strings.Contains(file, "tls:"):
				t.Errorf("the port is %d", sc.TLS)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("%v, want a mistake with %q", err, c.want)
			}
			if err := schema.Validate(asJSON(t, file)); (err != nil) != (c.want != "" && !c.schemaSilent) {
				t.Errorf("the schema says %v", err)
			}
		})
	}
}
