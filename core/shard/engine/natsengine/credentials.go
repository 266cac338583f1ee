package natsengine

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

// Credentials prove who connects, and to whom. Files are read for each connection,
// so that new ones are used from the next one on (Engine.Reconnect).
type Credentials struct {
	// SeedFile has the user's nkey seed (SU…); Seed is the same in memory. The
	// server has the public key only.
	SeedFile string
	Seed     []byte
	// CAFile has the certificates of who signs servers' ones, in PEM. Without it
	// the connection has no TLS, unless a server's URL begins with tls.
	CAFile string
	// CertFile and KeyFile are the client's own; both or none.
	CertFile, KeyFile string
}

func (c Credentials) seed() ([]byte, error) {
	if c.SeedFile == "" {
		return c.Seed, nil
	}
	data, err := os.ReadFile(c.SeedFile)
	if err != nil {
		return nil, fmt.Errorf("nats: the key of the user: %w", err)
	}
	return bytes.TrimSpace(data), nil
}

// pair gives the key pair; nil without one.
func (c Credentials) pair() (nkeys.KeyPair, error) {
	seed, err := c.seed()
	if err != nil || len(seed) == 0 {
		return nil, err
	}
	pair, err := nkeys.FromSeed(seed)
	if err != nil {
		// The error has nothing of the seed, nor may this.
		return nil, fmt.Errorf("nats: the key of the user (%s) is no nkey seed: %w", c.SeedFile, err)
	}
	return pair, nil
}

// public gives the public key, empty without one.
func (c Credentials) public() (string, error) {
	pair, err := c.pair()
	if err != nil || pair == nil {
		return "", err
	}
	defer pair.Wipe()
	return pair.PublicKey()
}

func (c Credentials) sign(nonce []byte) ([]byte, error) {
	pair, err := c.pair()
	if err != nil {
		return nil, err
	}
	if pair == nil {
		return nil, errors.New("nats: the key of the user has gone")
	}
	defer pair.Wipe()
	return pair.Sign(nonce)
}

func (c Credentials) apply(o *nats.Options) error {
	public, err := c.public()
	if err != nil {
		return err
	}
	if public != "" {
		o.Nkey, o.SignatureCB = public, c.sign
	}
	if (c.CertFile == "") != (c.KeyFile == "") {
		return errors.New("nats: a certificate needs its key, and a key its certificate")
	}
	if c.CAFile == "" {
		return nil
	}
	// What cannot be read now is a mistake; later it is tried again.
	if _, err := c.authorities(); err != nil {
		return err
	}
	o.Secure = true
	o.TLSHandshakeFirst = true // nothing is said before
	o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS13}
	o.RootCAsCB = c.authorities
	if c.CertFile != "" {
		if _, err := c.certificate(); err != nil {
			return err
		}
		o.TLSCertCB = c.certificate
	}
	return nil
}

func (c Credentials) authorities() (*x509.CertPool, error) {
	data, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("nats: certificates of authorities: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("nats: %s has no certificate in PEM", c.CAFile)
	}
	return pool, nil
}

func (c Credentials) certificate() (tls.Certificate, error) {
	cert, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
	if err != nil {
		return cert, fmt.Errorf("nats: the client's certificate: %w", err)
	}
	return cert, nil
}

// renew puts the public key of the seed as it is now into the options of the
// connection that is being made. nats.go reads it in the goroutine that dials,
// after it has dialed, and nowhere else.
func (e *Engine) renew() error {
	nc := e.conn.Load()
	if nc == nil {
		return nil // the first connection, whose options were just made
	}
	public, err := e.cfg.Credentials.public()
	if err != nil {
		return err
	}
	if nc.Opts.Nkey != public {
		nc.Opts.Nkey = public
	}
	return nil
}

type dialer struct {
	engine *Engine
	net    net.Dialer
}

// Dial implements nats.CustomDialer.
func (d *dialer) Dial(network, address string) (net.Conn, error) {
	if err := d.engine.renew(); err != nil {
		return nil, err
	}
	return d.net.Dial(network, address)
}

type inProcess struct {
	engine *Engine
	server nats.InProcessConnProvider
}

// InProcessConn implements nats.InProcessConnProvider.
func (p inProcess) InProcessConn() (net.Conn, error) {
	if err := p.engine.renew(); err != nil {
		return nil, err
	}
	return p.server.InProcessConn()
}
