package layout

import (
	"fmt"
	"net"
	"path"
	"strings"
)

// maxPayload is the server's bound on a message: the engine's, and room for the
// frames of rpc and JetStream.
const maxPayload = "768KB"

// config writes what nats-server reads. Public has the users' public keys.
type config struct {
	strings.Builder
	public map[string]string
}

func (c *config) line(depth int, format string, args ...any) {
	c.WriteString(strings.Repeat("  ", depth))
	fmt.Fprintf(c, format, args...)
	c.WriteByte('\n')
}

// nodeConfig is the configuration of a node; public has the users' public keys.
func (l Layout) nodeConfig(n Node, public map[string]string) string {
	c := &config{public: public}
	c.line(0, "# Made by p2pmodel init; what is changed here is lost when it runs again.")
	c.line(0, "# Good for p2pmodel engine and for nats-server -c, which has to be told twice")
	c.line(0, "# to reload when there is a new shard: the first time leaves its imports out.")
	c.line(0, "server_name: %q", n.Name)
	c.line(0, "listen: %q", n.Listen)
	c.line(0, "tls {")
	c.line(1, "cert_file: %q", path.Join(n.Dir, "tls.crt"))
	c.line(1, "key_file: %q", path.Join(n.Dir, "tls.key"))
	c.line(1, "ca_file: %q", path.Join(n.Dir, "ca.crt"))
	c.line(1, "verify: true")
	c.line(1, "handshake_first: true # nothing is said to who has no certificate")
	c.line(1, `min_version: "1.3"`)
	c.line(1, "timeout: 5")
	c.line(0, "}")
	c.limits(n.Store)
	if len(l.Nodes) > 1 {
		l.routes(c, n)
	}
	c.accounts(l.accounts())
	return c.String()
}

// EmbeddedConfig is the configuration of a server that is reached from within its
// process only, with the same accounts; public has the users' public keys.
func (l Layout) EmbeddedConfig(store string, public map[string]string) string {
	c := &config{public: public}
	c.line(0, "server_name: %q", l.Cluster)
	c.limits(store)
	c.accounts(l.accounts())
	return c.String()
}

// limits are what each server has.
func (c *config) limits(store string) {
	c.line(0, "max_payload: %s", maxPayload)
	c.line(0, "max_pending: 64MB")
	c.line(0, `write_deadline: "5s" # who does not read for so long is cut off`)
	c.line(0, `ping_interval: "5s"`)
	c.line(0, "ping_max: 2")
	c.line(0, "jetstream {")
	c.line(1, "store_dir: %q", store)
	c.line(1, "sync_interval: always # acknowledged is on the disk")
	c.line(1, "max_file_store: 16GB")
	c.line(1, "max_memory_store: 256MB")
	c.line(0, "}")
}

func (l Layout) routes(c *config, n Node) {
	c.line(0, "cluster {")
	c.line(1, "name: %q", l.Cluster)
	c.line(1, "listen: %q", n.Cluster)
	c.line(1, "no_advertise: true # clients have the list of nodes in their own settings")
	c.line(1, "tls {")
	c.line(2, "cert_file: %q", path.Join(n.Dir, "cluster.crt"))
	c.line(2, "key_file: %q", path.Join(n.Dir, "cluster.key"))
	c.line(2, "ca_file: %q", path.Join(n.Dir, "cluster-ca.crt"))
	c.line(2, "verify: true")
	c.line(2, `min_version: "1.3"`)
	c.line(2, "timeout: 5")
	c.line(1, "}")
	c.line(1, "routes: [")
	for _, other := range l.Nodes {
		if other.Name != n.Name {
			c.line(2, "%q", "nats-route://"+other.route())
		}
	}
	c.line(1, "]")
	c.line(0, "}")
}

// route is where other nodes connect.
func (n Node) route() string {
	host := n.RouteHost
	if host == "" {
		host = n.Names[0]
	}
	_, port, _ := net.SplitHostPort(n.Cluster)
	return net.JoinHostPort(host, port)
}

func (c *config) accounts(all []account) {
	c.line(0, "system_account: %s", systemAccount)
	c.line(0, "accounts {")
	for _, a := range all {
		c.line(1, "%s {", a.name)
		if a.streams {
			c.line(2, "jetstream: enabled")
		}
		c.users(a.users)
		c.shares(a)
		c.line(1, "}")
	}
	c.line(0, "}")
}

func (c *config) users(all []user) {
	if len(all) == 0 {
		return
	}
	c.line(2, "users: [")
	for _, u := range all {
		c.line(3, "{ # %s", u.name)
		c.line(4, "nkey: %q", c.public[u.name])
		c.line(4, "permissions {")
		c.line(5, "publish { allow: %s }", quote(u.publish))
		c.line(5, "subscribe { allow: %s }", quote(u.subscribes()))
		c.line(4, "}")
		c.line(3, "}")
	}
	c.line(2, "]")
}

func (c *config) shares(a account) {
	kind := func(events bool) string {
		if events {
			return "stream"
		}
		return "service"
	}
	if len(a.exports) > 0 {
		c.line(2, "exports: [")
		for _, e := range a.exports {
			c.line(3, "{ %s: %q, accounts: %s }", kind(e.events), e.subject, quote(e.to))
		}
		c.line(2, "]")
	}
	if len(a.imports) > 0 {
		c.line(2, "imports: [")
		for _, i := range a.imports {
			c.line(3, "{ %s: { account: %q, subject: %q } }", kind(i.events), i.from, i.subject)
		}
		c.line(2, "]")
	}
}
