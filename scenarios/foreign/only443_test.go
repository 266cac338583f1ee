//go:build linux

package foreign_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"p2pmodel/core/shard/engine/layout"
	"p2pmodel/sim"
	"p2pmodel/sim/witness"
)

// TestTC04B: a network that lets nothing out but TCP to port 443. The peers, which
// are processes of our binary, meet over TLS, and the relay carries them over TLS:
// one of them, or both. Who has no firewall goes direct, and without the relay's
// port there is no path. What TLS carries no witness can read: the path is judged
// by where every packet of both hosts went, and how much.
func TestTC04B(t *testing.T) {
	t.Parallel()
	const blocked, open = "firewall: {preset: tcp-443-only}", "nat: port-restricted-cone"
	for _, c := range []struct {
		name, a, b string
		relay      bool
		want       witness.Path
	}{
		{"one side", blocked, open, true, witness.Relay},
		{"both sides", blocked, blocked, true, witness.Relay},
		{"the relay's port is closed", blocked, blocked, false, witness.None},
		{"without the firewall", open, open, true, witness.Direct},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			court.call(t)
			l := stand(t, `
lab:
  routers:
    net-a: {`+c.a+`}
    net-b: {`+c.b+`}
  hosts:
    a: {behind: net-a}
    b: {behind: net-b}
    rendezvous: {}
    relay: {}
  links:
    net-a: {delay: 10ms}
    net-b: {delay: 10ms}
`)
			dir := t.TempDir()
			meeting, way := l.address("rendezvous", 0), l.address("relay", 0)
			authority, err := layout.NewAuthority("lab", time.Now())
			if err != nil {
				t.Fatal(err)
			}
			pair, err := authority.Issue("servers", []string{meeting.String(), way.String()}, layout.Usage{Server: true}, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			file := func(name string, text []byte) string {
				path := filepath.Join(dir, name)
				if err := os.WriteFile(path, text, 0o600); err != nil {
					t.Fatal(err)
				}
				return path
			}
			cert, key, ca := file("cert.pem", pair.Cert), file("key.pem", pair.Key), file("ca.pem", authority.Cert)
			users, password := file("users", []byte(turnUser+":"+turnPassword+"\n")), file("password", []byte(turnPassword+"\n"))
			at := func(a netip.Addr, port uint16) string { return netip.AddrPortFrom(a, port).String() }

			l.start("rendezvous", sim.Program{Path: p2pmodel, Args: []string{"rendezvous", "--listen", at(meeting, 3478),
				"--tls", at(meeting, 443), "--cert", cert, "--key", key}}).await(`(?m)^rendezvous listening on `, 1)
			serve := []string{"relay", "--listen", at(way, 3478), "--relay-address", way.String(), "--credentials-file", users}
			if c.relay {
				serve = append(serve, "--tls", at(way, 443), "--cert", cert, "--key", key)
			}
			l.start("relay", sim.Program{Path: p2pmodel, Args: serve}).await(`(?m)^relay listening on `, 1)
			peer := func(host string, options ...string) *program {
				return l.start(host, sim.Program{Path: p2pmodel, Args: append([]string{"peer",
					"--rendezvous", at(meeting, 3478), "--rendezvous-tls", at(meeting, 443), "--relay", at(way, 3478), "--relay-tls", at(way, 443),
					"--ca-file", ca, "--username", turnUser, "--password-file", password, "--events", "json"}, options...)})
			}
			a := peer("a", "--echo")
			id := a.await(`"event":"ready","id":"([^"]+)"`, 1)[1]
			a.await(`"event":"registered"`, 1)
			b := peer("b", "--connect", id, "--send-interval", "20ms", "--payload-size", "100")
			var said uint64
			since := l.Now()
			switch c.want {
			case witness.None:
				b.await(`"event":"failed"|"event":"settled".*"kind":"none"`, 1)
			default:
				b.await(`"event":"settled".*"path":\{"kind":"`+strings.ToLower(c.want.String())+`"`, 1)
				since = l.Now()
				b.skip()
				const exchanged = 50
				b.await(`"event":"received".*"kind":"reply"`, exchanged)
				said = exchanged * 100
			}
			if c.want == witness.Direct {
				list, err := witness.Deliveries(l.Packets(), l.scene(), "a", "b")
				if path := witness.ObservedPath(list, since, witness.PathWindow); err != nil || path != witness.Direct {
					t.Errorf("the witness says %v, %v", path, err)
				}
				return
			}
			path, why, err := witness.Opaque(l.Packets(), l.scene(), "a", "b", witness.Word{AToB: said, BToA: said}, since.Add(-time.Minute), time.Time{})
			if err != nil || path != c.want {
				t.Errorf("the witness says %v (%s), %v; want %v", path, why, err, c.want)
			}
			t.Logf("%v: %s (%s bytes each way by the programs' word)", path, why, strconv.FormatUint(said, 10))
		})
	}
}
