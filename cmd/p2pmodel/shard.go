package main

import (
	"crypto/rand"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"p2pmodel/core/identity"
	"p2pmodel/core/relay"
	"p2pmodel/core/rendezvous"
	"p2pmodel/core/shard/engine/layout"
	"p2pmodel/core/shard/game"
	"p2pmodel/core/shard/service"
	"p2pmodel/core/shard/unit"
	"p2pmodel/core/ticket"
)

// shardFlags are the command line of p2pmodel shard.
type shardFlags struct {
	serverFlags
	engineFlags
	udpFlags
	name          string
	rooms         int
	players       int
	ticketKeyFile string
	ticketLife    time.Duration
	recordsFile   string
	historyFile   string
}

// Capacity of a shard.
const (
	defaultRooms   = 1000
	defaultPlayers = 4000
)

// udpFlags say where a shard's UDP servers are: in this process, or elsewhere.
type udpFlags struct {
	rendezvousListen, rendezvousKeyFile string
	rendezvous, rendezvousKey           string
	relayListen, relayPorts, relay      string
	relaySecretFile, publicAddress      string
	allowPeers, denyPeers               []string
	rendezvousTCP, rendezvousTLS        string
	relayTCP, relayTLS                  string
	secure                              certificateFlags
}

func (f *udpFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.rendezvousListen, "rendezvous-listen", "", "`IP:PORT` of this host for a rendezvous in this process; players are told it")
	flags.StringVar(&f.rendezvousKeyFile, "rendezvous-key-file", "", "`FILE` with that rendezvous' private key; made if missing (default: a new key each time)")
	flags.StringVar(&f.rendezvous, "rendezvous", "", "`IP:PORT` of a rendezvous elsewhere, instead")
	flags.StringVar(&f.rendezvousKey, "rendezvous-key", "", "public `KEY` of that one")
	flags.StringVar(&f.relayListen, "relay-listen", "", "`IP:PORT` of this host for a relay in this process; players are told it, and are relayed from that IP")
	flags.StringVar(&f.relayPorts, "relay-ports", fmt.Sprintf("%d-%d", relay.DefaultPortLow, relay.DefaultPortHigh), "relayed ports of that relay, `LOW-HIGH`, both included")
	flags.StringVar(&f.relay, "relay", "", "`IP:PORT` of a relay elsewhere, instead")
	flags.StringVar(&f.publicAddress, "public-address", "", "`IP` that players are told instead of those listened on, where a gateway translates it one to one")
	flags.StringVar(&f.relaySecretFile, "relay-secret-file", "", "`FILE` with the secret of time-limited credentials, which the relay has too")
	flags.StringVar(&f.rendezvousTCP, "rendezvous-tcp", "", "`IP:PORT` at which players reach the rendezvous over TCP where their network lets no UDP out: of this host for the one in this process (default: nowhere)")
	flags.StringVar(&f.rendezvousTLS, "rendezvous-tls", "", "`IP:PORT[/NAME]` of the same over TLS, best port 443; NAME is whom its certificate has to name, if not the address")
	flags.StringVar(&f.relayTCP, "relay-tcp", "", "`IP:PORT` at which players reach the relay over TCP, likewise")
	flags.StringVar(&f.relayTLS, "relay-tls", "", "`IP:PORT[/NAME]` at which they reach it over TLS, likewise")
	f.secure.add(flags)
	flags.StringSliceVar(&f.allowPeers, "allow-peer", nil, "`prefix` of peers that the relay in this process relays to although they are not public; may be repeated")
	flags.StringSliceVar(&f.denyPeers, "deny-peer", nil, "`prefix` of peers that it never relays to; wins over --allow-peer; may be repeated")
}

// apply reads the flags into the configuration of a shard. A rendezvous of ours
// takes the shard's tickets only.
func (f *udpFlags) apply(cfg *unit.Config, s *service.Service) error {
	public := netip.Addr{}
	if f.publicAddress != "" {
		var err error
		if public, err = netip.ParseAddr(f.publicAddress); err != nil || public.IsUnspecified() {
			return usage("--public-address %q: want an IP address that players reach", f.publicAddress)
		}
	}
	if err := f.applyRendezvous(cfg, public); err != nil {
		return err
	}
	if err := f.applyRelay(cfg, public, s); err != nil {
		return err
	}
	return f.applyStreams(cfg, public, s)
}

func (f *udpFlags) applyRendezvous(cfg *unit.Config, public netip.Addr) (err error) {
	switch {
	case f.rendezvousListen == "" && f.rendezvous == "":
		return usage("players need a rendezvous: give --rendezvous-listen IP:PORT, or --rendezvous IP:PORT and --rendezvous-key KEY for one elsewhere")
	case f.rendezvousListen != "" && f.rendezvous != "":
		return usage("--rendezvous-listen and --rendezvous exclude each other")
	case f.rendezvous != "":
		if cfg.Rendezvous.Addr, err = addressFlag("rendezvous", f.rendezvous); err != nil {
			return err
		}
		if cfg.Rendezvous.Key, err = identity.ParseID(f.rendezvousKey); err != nil {
			return usage("--rendezvous needs --rendezvous-key, which it prints when it starts: %w", err)
		}
		return nil
	}
	server := &rendezvous.ServerConfig{Rand: rand.Reader}
	if server.Listen, cfg.Rendezvous.Addr, err = toldFlag("rendezvous-listen", f.rendezvousListen, public); err != nil {
		return err
	}
	if server.Admission, err = ticket.NewVerifier(cfg.Tickets.Public()); err != nil {
		return err
	}
	if server.Key, err = loadKey(f.rendezvousKeyFile); err != nil {
		return err
	}
	cfg.Rendezvous.Key, cfg.RendezvousServer = server.Key.ID(), server
	return nil
}

func (f *udpFlags) applyRelay(cfg *unit.Config, public netip.Addr, s *service.Service) (err error) {
	if f.relayListen == "" && f.relay == "" {
		if f.relaySecretFile != "" {
			return usage("--relay-secret-file is about a relay: give --relay-listen IP:PORT, or --relay IP:PORT for one elsewhere")
		}
		s.Log().Warn("the shard has no relay: players whose NATs allow no direct path cannot play")
		return nil
	}
	if f.relaySecretFile == "" {
		return usage("a relay needs --relay-secret-file FILE; a line of random characters will do")
	}
	if cfg.Relay.Secret, err = readFile(f.relaySecretFile, relay.ReadSharedSecret); err != nil {
		return usage("--relay-secret-file: %w", err)
	}
	switch {
	case f.relayListen != "" && f.relay != "":
		return usage("--relay-listen and --relay exclude each other")
	case f.relay != "":
		cfg.Relay.Addr, err = addressFlag("relay", f.relay)
		return err
	}
	server := &relay.ServerConfig{Rand: rand.Reader, Authenticators: []relay.Authenticator{cfg.Relay.Secret}}
	if server.Listen, cfg.Relay.Addr, err = toldFlag("relay-listen", f.relayListen, public); err != nil {
		return err
	}
	if server.RelayAddress = server.Listen.Addr(); server.RelayAddress.IsUnspecified() {
		return usage("--relay-listen %s: want an address of this host, which players are relayed from", f.relayListen)
	}
	if server.PortLow, server.PortHigh, err = parsePorts(f.relayPorts); err != nil {
		return usage("--relay-ports %q: %w", f.relayPorts, err)
	}
	if server.AllowPeers, err = parsePrefixes("--allow-peer", f.allowPeers); err != nil {
		return err
	}
	if server.DenyPeers, err = parsePrefixes("--deny-peer", f.denyPeers); err != nil {
		return err
	}
	cfg.RelayServer = server
	return nil
}

// toldFlag reads an IP:PORT to listen on, and gives what players are told of it:
// the same, or the public address that stands for it.
func toldFlag(flag, value string, public netip.Addr) (listen, told netip.AddrPort, err error) {
	if listen, err = addressFlag(flag, value); err != nil {
		return listen, told, err
	}
	if public.IsValid() {
		return listen, netip.AddrPortFrom(public, listen.Port()), nil
	}
	if listen.Addr().IsUnspecified() {
		return listen, told, usage("--%s %s: players are told this address, so it has to be one that they reach; or give --public-address", flag, value)
	}
	return listen, listen, nil
}

func newShardCommand() *cobra.Command {
	var f shardFlags
	cmd := &cobra.Command{
		Use:   "shard --name ID --engine URL --ticket-key-file F --rendezvous-listen IP:PORT --relay-listen IP:PORT --relay-secret-file F",
		Short: "Run a shard: Lobby and Game, and UDP servers for their players",
		Long: `Run a shard: rooms, matchmaking and matches, and the UDP servers that its players
meet at. The UDP servers run in this process (--rendezvous-listen, --relay-listen)
or elsewhere (--rendezvous, --relay: p2pmodel rendezvous, p2pmodel relay).

Shards are added and taken away while others run; p2pmodel drain empties one. On
SIGTERM its rooms are given to others.`,
		Example: `  p2pmodel shard --name a --engine tls://10.0.0.1:4222 --engine-seed-file user.nk --engine-ca-file ca.crt \
      --ticket-key-file ticket.key --rendezvous-listen 198.51.100.1:3478 --relay-listen 198.51.100.1:3480 --relay-secret-file relay.secret
  p2pmodel shard --config shard-a/shard.yaml`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := f.serverFlags.service(cmd)
			if err != nil {
				return err
			}
			if err := f.build(s); err != nil || f.checkOnly {
				return err
			}
			return s.Run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	f.serverFlags.add(flags)
	f.engineFlags.add(flags)
	f.udpFlags.add(flags)
	flags.StringVar(&f.name, "name", "", "`ID` of this shard among all, by which the engine knows it (required)")
	flags.IntVar(&f.rooms, "capacity-rooms", defaultRooms, "how many `rooms` it takes")
	flags.IntVar(&f.players, "capacity-players", defaultPlayers, "how many `players` it takes in them")
	flags.StringVar(&f.ticketKeyFile, "ticket-key-file", "", "`FILE` with the private key that signs play tickets; the rendezvous has the public one (required)")
	flags.StringVar(&f.historyFile, "history-file", "", "`FILE` to which each change of a room's owner is added as a line of JSON, for those who check them; SIGHUP opens it anew (default: none)")
	flags.StringVar(&f.recordsFile, "match-records-file", "", "`FILE` to which each ended match is added as a line of JSON; SIGHUP opens it anew (default: none)")
	flags.DurationVar(&f.ticketLife, "ticket-life", game.DefaultTicketLife, "how long play tickets and relay credentials are good")
	return cmd
}

func (f *shardFlags) build(s *service.Service) error {
	switch {
	case f.name == "":
		return usage("--name ID is required")
	case f.rooms < 1:
		return usage("--capacity-rooms %d: at least 1", f.rooms)
	case f.players < 1:
		return usage("--capacity-players %d: at least 1", f.players)
	case f.ticketLife < time.Minute || f.ticketLife%time.Second != 0:
		return usage("--ticket-life %v: want whole seconds, at least 1m", f.ticketLife)
	case f.ticketKeyFile == "":
		return usage("--ticket-key-file FILE is required; p2pmodel init makes one")
	}
	tickets, err := readTicketKey(f.ticketKeyFile)
	if err != nil {
		return usage("--ticket-key-file: %w", err)
	}
	cfg := unit.Config{
		ID: f.name, CapacityRooms: f.rooms, CapacityPlayers: f.players, Tickets: tickets, TicketLife: f.ticketLife,
	}
	if err := f.apply(&cfg, s); err != nil {
		return err
	}
	if err := f.engineFlags.check(); err != nil || f.checkOnly {
		return err
	}
	if f.recordsFile != "" {
		lines, err := openLines(s, "match records", f.recordsFile)
		if err != nil {
			return usage("--match-records-file: %w", err)
		}
		cfg.Records = lines
	}
	if f.historyFile != "" {
		lines, err := openLines(s, "history", f.historyFile)
		if err != nil {
			return usage("--history-file: %w", err)
		}
		cfg.History = lines
	}
	e, err := f.connect(s, layout.ShardUser(f.name), 0)
	if err != nil {
		return err
	}
	cfg.Engine = e
	return addShard(s, cfg)
}

// addShard makes a shard a part of the process.
func addShard(s *service.Service, cfg unit.Config) error {
	name := layout.ShardUser(cfg.ID)
	cfg.Log, cfg.Metrics = s.Log(), serverMetrics(s, name)
	server, err := unit.New(cfg)
	if err != nil {
		return usage("%w", err)
	}
	s.Add(service.Server{Name: name, Run: server.Run, Ready: server.Ready})
	return nil
}

func readTicketKey(file string) (*ticket.Signer, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	signer, err := ticket.ReadSignerKey(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return signer, nil
}
