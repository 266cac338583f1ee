package layout_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"p2pmodel/core/shard"
	"p2pmodel/core/shard/engine"
	"p2pmodel/core/shard/engine/natsengine"
)

// TestWhoCannotConnect: without a certificate, with another authority's, with
// another's key.
func TestWhoCannotConnect(t *testing.T) {
	s, stranger := newSite(t, 1), newSite(t, 1)
	n := s.start(0)
	good := s.credentials("agent-x")
	for name, change := range map[string]func(c *natsengine.Credentials){
		"no certificate": func(c *natsengine.Credentials) { c.CertFile, c.KeyFile = "", "" },
		"a stranger's certificate": func(c *natsengine.Credentials) {
			o := stranger.credentials("agent-x")
			c.CertFile, c.KeyFile = o.CertFile, o.KeyFile
		},
		"a stranger's authority": func(c *natsengine.Credentials) { c.CAFile = stranger.credentials("agent-x").CAFile },
		"a stranger's key":       func(c *natsengine.Credentials) { c.SeedFile = stranger.credentials("agent-x").SeedFile },
		"no key":                 func(c *natsengine.Credentials) { c.SeedFile = "" },
		"a node's certificate as ours": func(c *natsengine.Credentials) {
			c.CertFile, c.KeyFile = filepath.Join(s.dir, "nodes/n0/tls.crt"), filepath.Join(s.dir, "nodes/n0/tls.key")
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := good
			change(&c)
			e := s.connect("agent-x", c)
			if e.Connected() {
				t.Error("it is connected")
			}
			if err := ask(t, e, shard.DirectorySubject("FindRoom")); !errors.Is(err, engine.ErrUnavailable) {
				t.Errorf("got %v", err)
			}
		})
	}
	if !s.connect("agent-x", good).Connected() {
		t.Error("with all that is right it is not connected")
	}
	// Without TLS nothing is said at all.
	conn, err := net.Dial("tcp", n.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	_, _ = conn.Write([]byte("CONNECT {}\r\nPING\r\n"))
	buffer := make([]byte, 100)
	if got, _ := conn.Read(buffer); got > 0 && strings.Contains(string(buffer[:got]), "INFO") {
		t.Errorf("the node said %q", buffer[:got])
	}
}

// TestAClientsCertificateMakesNoNode: routes have an authority of their own.
func TestAClientsCertificateMakesNoNode(t *testing.T) {
	s := newSite(t, 3)
	s.start(0)
	c := s.credentials("agent-x")
	user, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	node, err := tls.LoadX509KeyPair(filepath.Join(s.dir, "nodes/n1/cluster.crt"), filepath.Join(s.dir, "nodes/n1/cluster.key"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.files["offline/cluster-ca.crt"].Data)
	for name, row := range map[string]struct {
		cert tls.Certificate
		ok   bool
	}{"a user": {user, false}, "a node": {node, true}} {
		err := route(s.layout.Nodes[0].Cluster, row.cert, roots)
		if (err == nil) != row.ok {
			t.Errorf("%s: %v, permitted is %t", name, err, row.ok)
		}
	}
}

// route connects to a node as another one, up to the end of the TLS handshake.
func route(addr string, cert tls.Certificate, roots *x509.CertPool) error {
	conn, err := net.DialTimeout("tcp", addr, 20*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	secure := tls.Client(conn, &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{cert}, ServerName: "127.0.0.1"})
	if err := secure.Handshake(); err != nil {
		return err
	}
	// With TLS 1.3 a refusal comes with what is read first. Else what is no word of
	// the protocol is answered, and the connection ends.
	if _, err := secure.Write([]byte("HELLO\r\n")); err != nil {
		return err
	}
	if _, err := secure.Read(make([]byte, 1)); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}
