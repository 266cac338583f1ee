package main

import (
	"fmt"
	"io"
	"net"
	"net/netip"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"p2pmodel/core/peer"
	"p2pmodel/core/relay"
)

// allFlags are the command line of p2pmodel all.
type allFlags struct {
	serverFlags
	loginFlags
	tlsFlags
	limitFlags
	allStreams
	listen, operatorListen string
	dataDir, publicAddress string
	hosts                  []string
	shards, rooms, players int
	udpPort                int
	relayPorts             string
	allowPeers             []string
}

func newAllCommand() *cobra.Command {
	var f allFlags
	cmd := &cobra.Command{
		Use:   "all",
		Short: "Run everything in one process: engine, directory, shards, Agent",
		Long: `Run everything in one process: an engine that is reached from within, one
directory, one or more shards with a rendezvous and a relay each, and one Agent.
Nothing has to be made before: what is missing is made in the data folder.

By itself it is for development on one machine: it listens on 127.0.0.1, has a
certificate that nobody else knows, and lets everybody in. For others to come,
give --listen, --public-address and who may log in (--login-keys-file or
--accounts-file); with a certificate of a public authority clients need no CA
file.

Once ready it prints what clients need. docs/scaling.md says how to grow beyond
one process: p2pmodel init makes the files for it.`,
		Example: `  p2pmodel all
  p2pmodel all --shards 2 --metrics-listen 127.0.0.1:9100
  p2pmodel all --listen 0.0.0.0:8443 --public-address 198.51.100.1 --accounts-file accounts.yaml`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := f.service(cmd)
			if err != nil {
				return err
			}
			plan, err := f.plan()
			if err != nil || f.checkOnly {
				return err
			}
			all := &allProcess{flags: &f, plan: plan, service: s}
			defer all.close()
			if err := all.build(); err != nil {
				return err
			}
			s.Started(func() { all.tell(cmd.OutOrStdout()) })
			return s.Run(cmd.Context())
		},
	}
	f.add(cmd.Flags())
	return cmd
}

func (f *allFlags) add(flags *pflag.FlagSet) {
	f.serverFlags.add(flags)
	f.loginFlags.add(flags)
	f.tlsFlags.add(flags)
	f.limitFlags.add(flags)
	f.allStreams.add(flags)
	flags.StringVar(&f.listen, "listen", "127.0.0.1:8443", "`HOST:PORT` that clients come to")
	flags.StringVar(&f.operatorListen, "operator-listen", "", "`HOST:PORT` of this machine at which p2pmodel drain and shards reach the engine (default: none)")
	flags.StringVar(&f.dataDir, "data-dir", "p2pmodel-data", "`FOLDER` of what has to stay: keys, certificate, sessions, rooms; made if missing")
	flags.StringVar(&f.publicAddress, "public-address", "", "`IP` of this host at which players reach the UDP servers (default: that of --listen)")
	flags.StringSliceVar(&f.hosts, "host", nil, "further `name` or address of this host, for the certificate that is made; may be repeated")
	flags.IntVar(&f.shards, "shards", 1, "how many `shards`: shard-1 and so on")
	flags.IntVar(&f.rooms, "capacity-rooms", defaultRooms, "how many `rooms` a shard takes")
	flags.IntVar(&f.players, "capacity-players", defaultPlayers, "how many `players` a shard takes in them")
	flags.IntVar(&f.udpPort, "udp-port", 3478, "UDP `port` of the first shard's rendezvous; its relay's and those of the other shards follow")
	flags.StringVar(&f.relayPorts, "relay-ports", fmt.Sprintf("%d-%d", relay.DefaultPortLow, relay.DefaultPortHigh), "relayed ports, `LOW-HIGH`, which the shards share among them")
	flags.StringSliceVar(&f.allowPeers, "allow-peer", nil, "`prefix` of peers that relays relay to although they are not public (default: loopback, if players come by it); may be repeated")
}

// allPlan is what the flags come to.
type allPlan struct {
	loopback  bool       // only this machine reaches the Agent
	host      string     // of --listen
	address   netip.Addr // of the UDP servers
	relayLow  uint16
	relayHigh uint16
	allowed   []netip.Prefix
	// Of each shard, where its servers are reached without UDP.
	rendezvous, relay []peer.Streams
}

func (f *allFlags) plan() (p allPlan, err error) {
	if err := checkListenFlag("listen", f.listen); err != nil {
		return p, err
	}
	if err := f.limitFlags.check(); err != nil {
		return p, err
	}
	p.host, _, _ = net.SplitHostPort(f.listen)
	p.loopback = isLoopback(p.host)
	switch {
	case f.dataDir == "":
		return p, usage("--data-dir is empty")
	case f.shards < 1 || f.shards > 64:
		return p, usage("--shards %d: want 1 to 64", f.shards)
	case f.rooms < 1 || f.players < 1:
		return p, usage("--capacity-rooms %d, --capacity-players %d: at least 1 of each", f.rooms, f.players)
	case f.udpPort < 1 || f.udpPort+2*f.shards > 65536:
		return p, usage("--udp-port %d: want a port with room above it for two of each shard", f.udpPort)
	case (f.tlsCertFile == "") != (f.tlsKeyFile == ""):
		return p, usage("--tls-cert-file and --tls-key-file need each other")
	case !p.loopback && !f.given():
		return p, usage("--listen %s can be reached by others: say who may log in by --login-keys-file or --accounts-file, or let everybody in by --open", f.listen)
	}
	if f.operatorListen != "" {
		if err := checkListenFlag("operator-listen", f.operatorListen); err != nil {
			return p, err
		}
		if host, _, _ := net.SplitHostPort(f.operatorListen); !isLoopback(host) {
			return p, usage("--operator-listen %s: want an address that only this machine reaches, such as 127.0.0.1:4222, as there is no TLS", f.operatorListen)
		}
	}
	if p.address, err = f.udpAddress(p); err != nil {
		return p, err
	}
	if p.relayLow, p.relayHigh, err = parsePorts(f.relayPorts); err != nil {
		return p, usage("--relay-ports %q: %w", f.relayPorts, err)
	}
	if int(p.relayHigh)-int(p.relayLow)+1 < f.shards {
		return p, usage("--relay-ports %s: fewer ports than shards", f.relayPorts)
	}
	if p.rendezvous, p.relay, err = f.allStreams.read(f.shards); err != nil {
		return p, err
	}
	p.allowed, err = parsePrefixes("--allow-peer", f.allowPeers)
	if len(f.allowPeers) == 0 && p.address.IsLoopback() {
		p.allowed = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	}
	return p, err
}

// udpAddress is where players reach the UDP servers.
func (f *allFlags) udpAddress(p allPlan) (netip.Addr, error) {
	if f.publicAddress != "" {
		addr, err := netip.ParseAddr(f.publicAddress)
		if err != nil || !addr.Is4() || addr.IsUnspecified() {
			return addr, usage("--public-address %q: want an IPv4 address of this host that players reach", f.publicAddress)
		}
		return addr, nil
	}
	if addr, err := netip.ParseAddr(p.host); err == nil && addr.Is4() && !addr.IsUnspecified() {
		return addr, nil
	}
	if p.loopback {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1}), nil
	}
	return netip.Addr{}, usage("--listen %s does not say at which address players reach this host: give --public-address IP", f.listen)
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// tell says what clients need.
func (a *allProcess) tell(w io.Writer) {
	fmt.Fprintf(w, "p2pmodel is ready\n  agent        %s\n", a.agent)
	fmt.Fprintf(w, "  certificate  SHA-256 %s\n", a.fingerprint)
	if a.flags.open {
		fmt.Fprintf(w, "  login        everybody, under any name\n")
	} else {
		fmt.Fprintf(w, "  login        by accounts of %s, by tokens signed with a key of %s\n", orNone(a.flags.accountsFile), a.flags.keysFile)
	}
	if a.flags.operatorListen != "" {
		fmt.Fprintf(w, "  operator     p2pmodel shards --engine nats://%s --engine-seed-file %s\n", a.flags.operatorListen, a.data(operatorSeed))
	}
	fmt.Fprintf(w, "  play         p2pmodel play --agent %s%s --account ann\n", a.agent, a.trust())
}

func orNone(s string) string {
	if s == "" {
		return "nobody"
	}
	return s
}
