package relay

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"p2pmodel/core/freeport"
	"p2pmodel/core/sansio"
	"p2pmodel/core/stun"
	"p2pmodel/scenarios/interop"
)

// foreignServer is somebody else's relay, for our client.
type foreignServer struct {
	name  string // with version
	udp   netip.AddrPort
	tcp   netip.AddrPort
	tls   netip.AddrPort
	roots *x509.CertPool
	// quota is how many allocations one user may have.
	quota int
}

// by is where clients of a transport come to.
func (s *foreignServer) by(tr sansio.Transport) netip.AddrPort {
	switch tr {
	case sansio.TCP:
		return s.tcp
	case sansio.TLS:
		return s.tls
	}
	return s.udp
}

// writePair writes a certificate with its key, for programs.
func writePair(t *testing.T, dir string, pair tls.Certificate) (cert, key string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: pair.Certificate[0]}, key: {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// users are names at foreign relays: each row has one of its own, whose quota no other
// row uses up.
const users = 16

func userNamed(i int) string { return "user" + strconv.Itoa(i) }

// startCoturn starts coturn's server; further arguments go to it.
func startCoturn(t *testing.T, args ...string) *foreignServer {
	t.Helper()
	program := coturn(t, "turnserver")
	pair, roots := loopbackCertificate(t)
	dir := t.TempDir()
	cert, key := writePair(t, dir, pair)
	s := &foreignServer{name: "coturn " + coturnVersion(), udp: freeport.Of(t), tls: freeport.Of(t), roots: roots, quota: 2}
	s.tcp = s.udp
	args = append([]string{"-n", "--no-cli", "--no-dtls",
		"--listening-ip", s.udp.Addr().String(), "--listening-port", strconv.Itoa(int(s.udp.Port())), "--tls-listening-port", strconv.Itoa(int(s.tls.Port())),
		"--cert", cert, "--pkey", key, "--relay-ip", s.udp.Addr().String(), "--allow-loopback-peers", "--denied-peer-ip", "127.9.0.0-127.9.255.255",
		"--user-quota", strconv.Itoa(s.quota), "--mobility", "--realm", "test", "--log-file", "stdout",
		"--userdb", filepath.Join(dir, "turndb"), "--pidfile", filepath.Join(dir, "pid")}, args...)
	if loopback6().IsValid() {
		args = append(args, "--relay-ip", loopback6().String())
	}
	startProgram(t, dir, program, args...)
	return s
}

// roamer is the owner of a Client over UDP that comes along to another socket when it
// gets one.
type roamer struct {
	*clientMachine
	socket  sansio.Socket
	started bool
}

func (m *roamer) HandleBound(now time.Time, s sansio.Socket, _ netip.AddrPort, err error) {
	switch {
	case err != nil:
		m.Emit(AllocateFailed{Err: err})
	case m.started:
		m.socket = s
		m.Rebind(now)
	default:
		m.started = true
		m.Start(now)
	}
}

func (m *roamer) PollTransmit() (sansio.Datagram, bool) {
	d, ok := m.clientMachine.PollTransmit()
	d.Socket = m.socket
	return d, ok
}

// startAt starts our client at a foreign server; change is how it differs from others.
// What it says beside allocations, permissions and data goes to the channel.
func startAt(t *testing.T, s *foreignServer, tr sansio.Transport, user string, change func(*ClientConfig)) (*runningClient, <-chan sansio.Event) {
	t.Helper()
	m := newClientMachine(s.by(tr), user, "secret")
	if change != nil {
		change(&m.cfg)
		m.Client = NewClient(m.cfg)
	}
	c := &runningClient{clientMachine: m, allocated: make(chan Allocated, 4), permitted: make(chan Permitted, 16), data: make(chan Data, 1<<16)}
	others := make(chan sansio.Event, 16)
	var machine sansio.Machine = &roamer{clientMachine: m}
	if tr != sansio.UDP {
		owner := &streamOwner{clientMachine: m, transport: tr, server: s.by(tr)}
		owner.connect()
		machine = sansio.Streams(owner, sansio.StreamConfig{Roots: s.roots})
	}
	c.loop = runLoop(t, machine, c.events(func(e sansio.Event) { others <- e }))
	return c, others
}

// pairAt is two of our clients at a foreign server, who know each other.
type pairAt struct{ a, b *runningClient }

func meetAt(t *testing.T, s *foreignServer, tr sansio.Transport, user string, change func(*ClientConfig)) (p pairAt, atA, atB Allocated) {
	t.Helper()
	// They ask again until the server is up.
	p.a, _ = startAt(t, s, tr, user, change)
	p.b, _ = startAt(t, s, tr, user, change)
	atA, atB = await(t, p.a.allocated, "a's allocation"), await(t, p.b.allocated, "b's allocation")
	return p, atA, atB
}

// talk sends datagrams both ways, so many that channels are bound.
func (p pairAt) talk(t *testing.T, relayedA, relayedB netip.AddrPort) {
	t.Helper()
	p.a.permit(t, relayedB)
	p.b.permit(t, relayedA)
	exchange(t, p.a, p.b, relayedA, relayedB, foreignDatagrams, 1000)
	for _, c := range []*runningClient{p.a, p.b} {
		bound := false
		c.loop.Do(func(time.Time) {
			for _, q := range c.peers {
				bound = bound || q.bound
			}
		})
		if !bound {
			t.Error("no channel was bound: all went by indications")
		}
	}
}

func (p pairAt) close() {
	for _, c := range []*runningClient{p.a, p.b} {
		c.loop.Do(func(now time.Time) { c.Close(now) })
	}
}

const (
	foreignDatagrams = 300
	allArrive        = "300 datagrams each way, none lost"
)

// throughForeign tries what our client can do at somebody else's relay; each test is a
// row. Refusals are what the server says of them.
func throughForeign(t *testing.T, s *foreignServer, refusals map[string]string) {
	next := 0
	row := func(over, tried, expected string, f func(t *testing.T, user string)) {
		user := userNamed(next)
		next++
		t.Run(over+" "+tried, func(t *testing.T) {
			interop.Try(t, interop.Row{Client: ourClient, Server: s.name, Over: over, Tried: tried, Expected: expected})
			f(t, user)
		})
	}
	for _, tr := range []sansio.Transport{sansio.UDP, sansio.TCP, sansio.TLS} {
		row(strings.ToUpper(tr.String()), "channels and indications", allArrive, func(t *testing.T, user string) {
			p, a, b := meetAt(t, s, tr, user, nil)
			p.talk(t, a.Relayed, b.Relayed)
			p.close()
		})
	}
	row("UDP", "IPv6 relayed addresses", allArrive, func(t *testing.T, user string) {
		needsIPv6(t)
		p, a, b := meetAt(t, s, sansio.UDP, user, func(c *ClientConfig) { c.Families = IPv6Family })
		if !a.Relayed.Addr().Is6() {
			t.Fatalf("relayed at %v", a.Relayed)
		}
		p.talk(t, a.Relayed, b.Relayed)
		p.close()
	})
	row("UDP", "a third allocation of one user", "refused: 486", func(t *testing.T, user string) {
		p, _, _ := meetAt(t, s, sansio.UDP, user, nil)
		wantRefusal(t, s, user, nil, "486")
		p.close()
	})
	for _, guess := range []struct{ tried, user, password string }{{"a wrong password", "", "guess"}, {"an unknown user", "mallory", "secret"}} {
		says := refusals[guess.tried]
		row("UDP", guess.tried, "refused: "+says, func(t *testing.T, user string) {
			if guess.user != "" {
				user = guess.user
			}
			wantRefusal(t, s, user, func(c *ClientConfig) { c.Password = guess.password }, says)
		})
	}
	row("UDP", "a peer that the operator denies", "refused: 403", func(t *testing.T, user string) {
		c, others := startAt(t, s, sansio.UDP, user, nil)
		await(t, c.allocated, "the allocation")
		c.loop.Do(func(now time.Time) { c.Permit(now, netip.MustParseAddrPort("127.9.9.9:9")) })
		failed, ok := await(t, others, "the refusal").(PermitFailed)
		if refusal := (*stun.ResponseError)(nil); !ok || !errors.As(failed.Err, &refusal) || refusal.Code != 403 {
			t.Errorf("%+v, want 403", failed)
		}
		c.loop.Do(func(now time.Time) { c.Close(now) })
	})
}

// wantRefusal has a client ask in vain; says is in its error. "401" is ErrCredentials:
// the client has no other word for it.
func wantRefusal(t *testing.T, s *foreignServer, user string, change func(*ClientConfig), says string) {
	t.Helper()
	_, others := startAt(t, s, sansio.UDP, user, change)
	failed, ok := await(t, others, "the refusal").(AllocateFailed)
	switch {
	case !ok:
		t.Errorf("%+v, want a refusal", failed)
	case says == "401" && !errors.Is(failed.Err, ErrCredentials), says != "401" && !strings.Contains(failed.Err.Error(), says):
		t.Errorf("%v, want a failure that says %s", failed.Err, says)
	}
}

func TestOurClientThroughCoturnServer(t *testing.T) {
	t.Parallel()
	var credentials []string
	for i := range users {
		credentials = append(credentials, "--user", userNamed(i)+":secret")
	}
	s := startCoturn(t, append(credentials, "--user", "mover:secret", "--user", "both:secret", "--lt-cred-mech")...)
	throughForeign(t, s, map[string]string{"a wrong password": "401", "an unknown user": "401"})

	t.Run("both families", func(t *testing.T) {
		interop.Try(t, interop.Row{Client: ourClient, Server: s.name, Over: "UDP", Tried: "both families at once", Expected: allArrive + ", by either"})
		needsIPv6(t)
		p, a, b := meetAt(t, s, sansio.UDP, "both", func(c *ClientConfig) { c.Families = BothFamilies })
		if !a.Other.IsValid() || !b.Other.IsValid() {
			t.Fatalf("relayed at %v and %v (%v)", a.Relayed, a.Other, a.OtherErr)
		}
		p.talk(t, a.Relayed, b.Relayed)
		p.talk(t, a.Other, b.Other)
		p.close()
	})
	t.Run("mobility", func(t *testing.T) {
		interop.Try(t, interop.Row{
			Client: ourClient, Server: s.name, Over: "UDP", Tried: "mobility: one of two takes another socket, three times",
			Expected: "the relayed address comes along; " + allArrive + " after each",
		})
		p, a, b := meetAt(t, s, sansio.UDP, "mover", nil)
		p.talk(t, a.Relayed, b.Relayed)
		for socket := range sansio.Socket(3) {
			p.a.loop.Do(func(time.Time) { p.a.Outbox.Bind(socket+1, netip.AddrPortFrom(loopback, 0)) })
			moved := await(t, p.a.allocated, "the move")
			if !moved.Moved || moved.Relayed != a.Relayed {
				t.Fatalf("after the move %+v, want the allocation of before, %v", moved, a.Relayed)
			}
			await(t, p.a.permitted, "the permission after the move")
			exchange(t, p.a, p.b, a.Relayed, b.Relayed, foreignDatagrams, 1000)
		}
		p.close()
	})
}

// TestOurClientWithSecretsAtCoturn: time-limited credentials, of which the user is an
// expiry.
func TestOurClientWithSecretsAtCoturn(t *testing.T) {
	t.Parallel()
	north := SharedSecret("north")
	s := startCoturn(t, "--use-auth-secret", "--static-auth-secret", "north")
	for _, c := range []struct {
		tried, expected string
		secret          SharedSecret
		good            time.Duration
	}{
		{"time-limited credentials", allArrive, north, time.Hour},
		{"time-limited credentials that have expired", "refused: 401", north, -time.Minute},
		{"a wrong shared secret", "refused: 401", SharedSecret("south"), time.Hour},
	} {
		t.Run(c.tried, func(t *testing.T) {
			interop.Try(t, interop.Row{Client: ourClient, Server: s.name, Over: "UDP", Tried: c.tried, Expected: c.expected})
			user, password := c.secret.Credentials("carol", time.Now().Add(c.good))
			with := func(cfg *ClientConfig) { cfg.Password = password }
			if c.expected != allArrive {
				wantRefusal(t, s, user, with, "401")
				return
			}
			p, a, b := meetAt(t, s, sansio.UDP, user, with)
			p.talk(t, a.Relayed, b.Relayed)
			p.close()
		})
	}
}

func TestOurClientThroughPionServer(t *testing.T) {
	t.Parallel()
	program := pionTurn(t)
	pair, roots := loopbackCertificate(t)
	dir := t.TempDir()
	cert, key := writePair(t, dir, pair)
	s := &foreignServer{name: "pion/turn " + pionTurnVersion(), udp: freeport.Of(t), tls: freeport.Of(t), roots: roots, quota: 2}
	s.tcp = s.udp
	var names []string
	for i := range users {
		names = append(names, userNamed(i))
	}
	args := []string{"server", "--listen", s.udp.String(), "--tcp", s.tcp.String(), "--tls", s.tls.String(), "--cert", cert, "--key", key,
		"--user", strings.Join(names, ","), "--password", "secret", "--quota", strconv.Itoa(s.quota), "--deny", "127.9.0.0/16"}
	if loopback6().IsValid() {
		args = append(args, "--relay6", loopback6().String())
	}
	startProgram(t, dir, program, args...)
	throughForeign(t, s, map[string]string{"a wrong password": "400", "an unknown user": "400"})
}
