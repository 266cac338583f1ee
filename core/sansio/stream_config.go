package sansio

import (
	"crypto/tls"
	"crypto/x509"
	"time"
)

// Defaults of StreamConfig.
const (
	DefaultMaxStreams           = 4096
	DefaultMaxStreamsPerAddress = 128
	DefaultHandshake            = 5 * time.Second
	DefaultFirstMessage         = 5 * time.Second
	DefaultStreamIdle           = 3 * time.Minute
	DefaultStalled              = 10 * time.Second
	DefaultStreamQueue          = 128 << 10
	DefaultMaxFrame             = 16 << 10
)

// alpn is the protocol's name in TLS (RFC 7443).
const alpn = "stun.turn"

// StreamConfig is how a driver carries a machine's streams. A zero field is its
// default; a negative duration means no limit.
type StreamConfig struct {
	// Certificate gives what sockets that listen show. It is asked for each
	// connection, so that another certificate needs no new start. Without it, no
	// socket listens for TLS.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Roots are whom connections trust. Nil: whom the system trusts.
	Roots *x509.CertPool

	// MaxStreams bounds the accepted connections of all sockets, those in their
	// TLS handshake included; MaxPerAddress those of one address (an IPv6 /64
	// counts as one). What exceeds them is closed at once.
	MaxStreams, MaxPerAddress int
	// Handshake is how long connecting and TLS may take together.
	Handshake time.Duration
	// FirstMessage is how long an accepted connection may take to send its first
	// whole message, Idle how long any connection may then leave between two. Bytes
	// that make no message up win no time.
	FirstMessage, Idle time.Duration
	// Stalled is how long the other side may take nothing of what is to be sent.
	Stalled time.Duration
	// Queue bounds the bytes that wait to be sent on one connection. Messages that
	// do not fit are lost, as datagrams are.
	Queue int
	// MaxFrame bounds a message, framing included. A connection that announces a
	// longer one is closed.
	MaxFrame int
}

func (c StreamConfig) withDefaults() StreamConfig {
	for _, f := range []struct {
		field *int
		value int
	}{
		{&c.MaxStreams, DefaultMaxStreams}, {&c.MaxPerAddress, DefaultMaxStreamsPerAddress},
		{&c.Queue, DefaultStreamQueue}, {&c.MaxFrame, DefaultMaxFrame},
	} {
		if *f.field <= 0 {
			*f.field = f.value
		}
	}
	for _, f := range []struct{ field, value *time.Duration }{
		{&c.Handshake, new(DefaultHandshake)}, {&c.FirstMessage, new(DefaultFirstMessage)},
		{&c.Idle, new(DefaultStreamIdle)}, {&c.Stalled, new(DefaultStalled)},
	} {
		if *f.field == 0 {
			*f.field = *f.value
		}
	}
	return c
}

func (c StreamConfig) serverTLS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.Certificate, NextProtos: []string{alpn}}
}

func (c StreamConfig) clientTLS(name string) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.Roots, ServerName: name, NextProtos: []string{alpn}}
}

// deadline is d from now; the zero time, which is none, if d is negative.
func deadline(d time.Duration) time.Time {
	if d < 0 {
		return time.Time{}
	}
	return time.Now().Add(d)
}

// Streams gives a machine its driver's configuration along: a Loop carries the
// streams of what this returns by c, and those of a machine alone by the defaults.
func Streams(m StreamMachine, c StreamConfig) Machine { return configured{m, c} }

type configured struct {
	StreamMachine
	config StreamConfig
}

// Bare takes a machine out of what Streams gave, for drivers: it may implement more
// than that shows.
func Bare(m Machine) (Machine, StreamConfig) {
	if c, ok := m.(configured); ok {
		return c.StreamMachine, c.config
	}
	return m, StreamConfig{}
}
