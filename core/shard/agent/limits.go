package agent

import (
	"errors"
	"fmt"
	"reflect"
	"time"
)

// Limits bound what clients can cost an Agent. A field that is 0 has its
// default; none can be switched off.
//
// Per address means per IPv4 address and per IPv6 network of 64 bits. Behind a
// balancer that passes TCP on, all clients have the balancer's address, unless it
// sends the PROXY protocol (Config.Proxies).
type Limits struct {
	// Connections bounds TCP connections in all, 20000, and
	// ConnectionsPerAddress those of one address, 512. What comes beyond is reset.
	Connections           int
	ConnectionsPerAddress int
	// ConnectionRate is how many connections a second an address may open, 100,
	// ConnectionBurst how many at once, 400: a handshake costs 100 µs and more.
	ConnectionRate  float64
	ConnectionBurst int
	// HandshakeTimeout is the time from a connection's beginning to the first
	// byte of a request: TLS, and HTTP/2's preface; 5 s.
	HandshakeTimeout time.Duration
	// HeaderTimeout is the time for the header of a request by HTTP/1.1, 5 s,
	// BodyTimeout for a body, 5 s; IdleTimeout is how long a connection without
	// requests is kept, 2 min.
	HeaderTimeout time.Duration
	BodyTimeout   time.Duration
	IdleTimeout   time.Duration
	// HeaderBytes bounds the header, 16 KiB, BodyBytes the message, 16 KiB.
	HeaderBytes int
	BodyBytes   int
	// StreamsPerConnection bounds requests at once by one HTTP/2 connection, 32.
	StreamsPerConnection int
	// WriteTimeout is how long a client may take to read an answer, or to make
	// place for an event; 10 s.
	WriteTimeout time.Duration

	// LoginRate is how many logins a second an address may try, 5, LoginBurst how
	// many at once, 20.
	LoginRate  float64
	LoginBurst int
	// ResumeRate is how many resumptions a second an address may try, 100,
	// ResumeBurst how many at once, 400: when an Agent dies, all players of a
	// network come at once. Requests with access tokens that are not known here
	// count too.
	ResumeRate  float64
	ResumeBurst int
	// RequestRate is for all other requests of one session a second, 20,
	// RequestBurst at once, 40.
	RequestRate  float64
	RequestBurst int

	// Requests bounds requests in work in all, event streams left out, 4096,
	// RequestsPerAddress those of one address, 256.
	Requests           int
	RequestsPerAddress int
	// Inside is how many of them may ask servers of the inside at once, 256,
	// InsideQueue how many wait for that, 1024.
	Inside      int
	InsideQueue int
	// RequestTimeout bounds the work for a request, 5 s.
	RequestTimeout time.Duration

	// Sessions bounds sessions that are attached here, 10000.
	Sessions int
	// Events is how many events wait for a session's stream, 128, and EventBytes
	// how large they are together, 128 KiB. Older ones are dropped for newer ones,
	// and the client is told by Overflow.
	Events     int
	EventBytes int
}

var defaults = Limits{
	Connections: 20000, ConnectionsPerAddress: 512, ConnectionRate: 100, ConnectionBurst: 400,
	HandshakeTimeout: 5 * time.Second, HeaderTimeout: 5 * time.Second, BodyTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute,
	HeaderBytes: 16 << 10, BodyBytes: 16 << 10, StreamsPerConnection: 32, WriteTimeout: 10 * time.Second,
	LoginRate: 5, LoginBurst: 20, ResumeRate: 100, ResumeBurst: 400, RequestRate: 20, RequestBurst: 40,
	Requests: 4096, RequestsPerAddress: 256, Inside: 256, InsideQueue: 1024, RequestTimeout: 5 * time.Second,
	Sessions: 10000, Events: 128, EventBytes: 128 << 10,
}

// Times are the intervals of a session's upkeep. A field that is 0 has its
// default.
type Times struct {
	// DetachAfter is how long a session stays attached without an event stream
	// and without a request, 10 s: a client that only asks has to ask more often.
	// Then its rooms are told that the player is offline, and its access token is
	// good no more.
	DetachAfter time.Duration
	// Presence is how often the rooms of a session are told that it is online, 20 s.
	Presence time.Duration
	// KeepAlive is how long an event stream is silent at most, 15 s; then it
	// carries an event of no kind.
	KeepAlive time.Duration
	// Places is how long it is believed which shard has a room, 30 s; it is asked
	// anew at once when that shard does not have it.
	Places time.Duration
	// Drain bounds the end: clients are told, requests in work are finished, rooms
	// are told that players are offline; 5 s.
	Drain time.Duration
}

var defaultTimes = Times{
	DetachAfter: 10 * time.Second, Presence: 20 * time.Second, KeepAlive: 15 * time.Second, Places: 30 * time.Second, Drain: 5 * time.Second,
}

// fill puts defaults into the fields that are 0 and refuses negative ones.
func fill[T any](given, defaults T) (T, error) {
	v, d := reflect.ValueOf(&given).Elem(), reflect.ValueOf(defaults)
	var errs []error
	for i := range v.NumField() {
		field, name := v.Field(i), v.Type().Field(i).Name
		if field.IsZero() {
			field.Set(d.Field(i))
		}
		if field.CanInt() && field.Int() < 0 || field.CanFloat() && field.Float() < 0 {
			errs = append(errs, fmt.Errorf("%s is negative", name))
		}
	}
	return given, errors.Join(errs...)
}
