package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"p2pmodel/core/peer"
	"p2pmodel/core/relay"
	"p2pmodel/core/rendezvous"
	"p2pmodel/core/sansio"
	"p2pmodel/core/shard/agent"
	"p2pmodel/core/shard/directory"
	"p2pmodel/core/shard/engine/layout"
	"p2pmodel/core/shard/engine/natsengine"
	"p2pmodel/core/shard/engine/natsserver"
	"p2pmodel/core/shard/game"
	"p2pmodel/core/shard/service"
	"p2pmodel/core/shard/unit"
	"p2pmodel/core/ticket"
)

// Names within p2pmodel all.
const (
	allAgent     = "1"
	allOperator  = defaultOperator
	operatorSeed = "operator.nk"
)

// allProcess is everything in one process.
type allProcess struct {
	flags   *allFlags
	plan    allPlan
	service *service.Service

	lock        *os.File
	engine      *natsserver.Server
	engines     []*natsengine.Engine // connections to it
	seeds       map[string][]byte
	madeCA      string // file with the authority of a certificate that was made
	agent       string // where clients come to
	fingerprint string
	certificate *service.Certificate
}

func (a *allProcess) data(names ...string) string {
	return filepath.Join(append([]string{a.flags.dataDir}, names...)...)
}

// build makes all parts, each when it has what it needs.
func (a *allProcess) build() error {
	f := a.flags
	if err := a.makeData(); err != nil {
		return err
	}
	certificate, err := f.certificate(a.service)
	if err != nil {
		return err
	}
	a.certificate, a.fingerprint = certificate, service.Fingerprint(certificate.Leaf())
	f.open = f.open || !f.given()
	if f.keysFile == "" {
		f.keysFile = a.data("login.pub")
	}
	who, err := f.authenticator(a.service)
	if err != nil {
		return err
	}
	if err := a.startEngine(); err != nil {
		return err
	}
	e, err := a.connect(layout.DirectoryUser(0))
	if err != nil {
		return err
	}
	if err := addDirectory(a.service, directory.Config{Engine: e, Members: 1}); err != nil {
		return err
	}
	for n := range f.shards {
		if err := a.addShard(n); err != nil {
			return fmt.Errorf("%s: %w", shardName(n), err)
		}
	}
	if e, err = a.connect(layout.AgentUser(allAgent)); err != nil {
		return err
	}
	a.agent, err = addAgent(a.service, agent.Config{Name: allAgent, GetCertificate: certificate.Get, Login: who, Engine: e, Limits: f.limits}, f.listen)
	return err
}

// makeData makes the folder and what is missing in it, and keeps other processes
// out.
func (a *allProcess) makeData() (err error) {
	f := a.flags
	if err := os.MkdirAll(f.dataDir, 0o700); err != nil {
		return usage("--data-dir: %w", err)
	}
	if a.lock, err = lockFile(a.data("lock")); err != nil {
		return usage("--data-dir %s: %w", f.dataDir, err)
	}
	if err := keepLoginKey(a.data("login.key"), a.data("login.pub")); err != nil {
		return usage("--data-dir: %w", err)
	}
	if f.tlsCertFile != "" {
		return nil
	}
	hosts := slices.Concat([]string{"localhost", "127.0.0.1", "::1", a.plan.address.String()}, f.hosts)
	if addr, err := netip.ParseAddr(a.plan.host); a.plan.host != "" && (err != nil || !addr.IsUnspecified()) {
		hosts = append(hosts, a.plan.host)
	}
	slices.Sort(hosts)
	a.madeCA = a.data("ca.crt")
	f.tlsCertFile, f.tlsKeyFile, err = keepCertificate(f.dataDir, slices.Compact(hosts), time.Now())
	return err
}

// trust is what clients have to be told of a certificate that was made.
func (a *allProcess) trust() string {
	if a.madeCA == "" {
		return ""
	}
	return " --ca-file " + a.madeCA
}

// close ends what was begun before the service ran, which may never have been, and
// lets other processes in.
func (a *allProcess) close() {
	for _, e := range a.engines {
		_ = e.Close()
	}
	if a.engine != nil {
		_ = a.engine.Close()
	}
	if a.lock != nil {
		_ = a.lock.Close()
	}
}

// startEngine starts the engine within the process.
func (a *allProcess) startEngine() error {
	l := layout.Layout{Cluster: "p2pmodel", Directories: 1, Agents: []string{allAgent}, Operators: []string{allOperator}}
	for n := range a.flags.shards {
		l.Shards = append(l.Shards, shardName(n))
	}
	seeds, public, err := l.Seeds()
	if err != nil {
		return err
	}
	a.seeds = seeds
	text, quiet := l.EmbeddedConfig(a.data("engine"), public), true
	if listen := a.flags.operatorListen; listen != "" {
		text += "listen: " + strconv.Quote(listen) + "\n"
		quiet = false
		if err := replaceFile(a.data(operatorSeed), seeds[layout.OperatorUser(allOperator)], 0o600); err != nil {
			return err
		}
	}
	log := slog.New(atLeast{a.service.Log().Handler(), slog.LevelWarn}).With("part", "engine") // it greets at length
	a.engine, err = natsserver.New(natsserver.Config{Text: text, Quiet: quiet, Log: log, Metrics: serverMetrics(a.service, "engine")})
	if err != nil {
		return err
	}
	a.service.Add(service.Server{Name: "engine", Run: a.engine.Run, Ready: a.engine.Ready})
	return nil
}

// connect gives a user's connection to the engine.
func (a *allProcess) connect(user string) (*natsengine.Engine, error) {
	e, err := natsengine.Connect(natsengine.Config{
		InProcess: a.engine, Name: user, Credentials: natsengine.Credentials{Seed: a.seeds[user]}, Log: a.service.Log(),
	})
	if err != nil {
		return nil, err
	}
	a.engines = append(a.engines, e)
	addEngine(a.service, "connection of "+user, e)
	return e, nil
}

// shardName is the name of the n-th shard, from 0.
func shardName(n int) string { return strconv.Itoa(n + 1) }

// addShard adds the n-th shard with its UDP servers.
func (a *allProcess) addShard(n int) error {
	f, p, name := a.flags, a.plan, shardName(n)
	if err := os.MkdirAll(a.data(layout.ShardUser(name)), 0o700); err != nil {
		return err
	}
	tickets, err := keepTicketKey(a.data(layout.ShardUser(name), "ticket.key"))
	if err != nil {
		return err
	}
	secret, err := keepSecret(a.data(layout.ShardUser(name), "relay.secret"))
	if err != nil {
		return err
	}
	key, err := loadKey(a.data(layout.ShardUser(name), "rendezvous.key"))
	if err != nil {
		return err
	}
	verifier, err := ticket.NewVerifier(tickets.Public())
	if err != nil {
		return err
	}
	e, err := a.connect(layout.ShardUser(name))
	if err != nil {
		return err
	}
	meet, around := p.rendezvous[n], p.relay[n]
	for _, s := range []*peer.Streams{&meet, &around} {
		if err := nameOf(s, a.certificate); err != nil {
			return usage("--rendezvous-tls, --relay-tls: %w", err)
		}
	}
	at := func(port int) netip.AddrPort { return netip.AddrPortFrom(p.address, uint16(f.udpPort+2*n+port)) }
	share := (int(p.relayHigh) - int(p.relayLow) + 1) / f.shards
	low := int(p.relayLow) + n*share
	return addShard(a.service, unit.Config{
		ID: name, Engine: e, CapacityRooms: f.rooms, CapacityPlayers: f.players, Tickets: tickets,
		Rendezvous:       game.Rendezvous{Addr: at(0), Key: key.ID(), Streams: meet},
		RendezvousServer: &rendezvous.ServerConfig{Listen: at(0), TCP: meet.TCP, TLS: meet.TLS, Key: key, Rand: rand.Reader, Admission: verifier},
		Relay:            game.Relay{Addr: at(1), Secret: secret, Streams: around},
		RelayServer: &relay.ServerConfig{
			Listen: at(1), TCP: around.TCP, TLS: around.TLS, RelayAddress: p.address, PortLow: uint16(low), PortHigh: uint16(low + share - 1),
			Authenticators: []relay.Authenticator{secret}, AllowPeers: p.allowed, Rand: rand.Reader,
		},
		Carry: sansio.StreamConfig{Certificate: a.certificate.Get},
	})
}

// keepTicketKey reads a key that signs tickets, or makes it.
func keepTicketKey(file string) (*ticket.Signer, error) {
	if err := keepFile(file, newTicketKey); err != nil {
		return nil, err
	}
	return readTicketKey(file)
}

// keepSecret reads the secret of a relay, or makes it.
func keepSecret(file string) (relay.SharedSecret, error) {
	if err := keepFile(file, newSecret); err != nil {
		return nil, err
	}
	return readFile(file, relay.ReadSharedSecret)
}

// keepFile makes a file of a secret if it is not there.
func keepFile(file string, fresh func() ([]byte, error)) error {
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	data, err := fresh()
	if err != nil {
		return err
	}
	return replaceFile(file, data, 0o600)
}

// atLeast leaves out what is less important than a level.
type atLeast struct {
	slog.Handler
	level slog.Level
}

// Enabled implements slog.Handler.
func (h atLeast) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= h.level && h.Handler.Enabled(ctx, level)
}

// WithAttrs implements slog.Handler.
func (h atLeast) WithAttrs(attrs []slog.Attr) slog.Handler {
	return atLeast{h.Handler.WithAttrs(attrs), h.level}
}

// WithGroup implements slog.Handler.
func (h atLeast) WithGroup(name string) slog.Handler {
	return atLeast{h.Handler.WithGroup(name), h.level}
}
