package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"p2pmodel/core/relay"
	"p2pmodel/core/shard/service"
	"p2pmodel/core/shard/udp"
)

// relayFlags are the command line of p2pmodel relay, as text.
type relayFlags struct {
	serverFlags
	listen, relayAddress, relayAddress6 string
	ports, realm                        string
	credentialsFile, secretFile         string
	allowPeers, denyPeers               []string
	maxPerUser, maxPerAddress, max      int
	rateAllocation, rateUser, rateAll   int64
	noMobility, advance                 bool
	drainTime                           time.Duration
	alternates                          []string
	fastPath                            string
	strictChannels, verbose             bool
	streams                             streamFlags
}

func newRelayCommand() *cobra.Command {
	var f relayFlags
	cmd := &cobra.Command{
		Use:   "relay --listen IP:PORT --relay-address IP {--credentials-file F | --secret-file F}",
		Short: "Run a TURN server over UDP, TCP and TLS (RFC 8656)",
		Long: `Run a TURN server (RFC 8656): the way around for peers that find no direct path.
It answers STUN Binding requests as well. Clients come over UDP, and with --tcp and
--tls over TCP and TLS, for networks that let out nothing else; peers are relayed
to over UDP. docs/relay.md says what of which RFC it does.

Peers on addresses that are not public are refused unless --allow-peer names
them. 198.18.0.0/15, the benchmarking network, counts as public.

The files of credentials are read again when they change, and on SIGHUP. Allocations
that there are go on by the credentials that made them, until these expire; new ones
need what is in the files. While a secret changes, the file may hold both, one a line.

With --fast-path the kernel (Linux 6.6 or later) itself passes on what goes through
channels over IPv4, as the relay would, at a fraction of the cost. It takes CAP_BPF and
CAP_NET_ADMIN; the log says why where it is not so.

On SIGTERM it stops; with --drain-time it takes no new allocations first, sends who
asks to --alternate-server, and stops when the last one has ended or the time is over.

Once ready it prints one line:
  relay listening on IP:PORT [tcp IP:PORT] [tls IP:PORT] relaying from IP:LOW-HIGH realm "REALM"`,
		Example: `  p2pmodel relay --listen 198.18.0.20:3478 --relay-address 198.18.0.20 \
      --ports 49152-65535 --realm example.org --credentials-file users.txt`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.drainTime > 0 {
				f.stopTimeout += f.drainTime
			}
			sv, err := f.serverFlags.service(cmd)
			if err != nil {
				return err
			}
			if err := f.build(cmd, sv); err != nil || f.checkOnly {
				return err
			}
			return sv.Run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	f.serverFlags.add(flags)
	flags.StringVar(&f.listen, "listen", "", "`IP:PORT` that clients come to (required)")
	flags.StringVar(&f.relayAddress, "relay-address", "", "IPv4 `address` of this host that peers are relayed from (required, or --relay-address6)")
	flags.StringVar(&f.relayAddress6, "relay-address6", "", "IPv6 `address` of this host that peers are relayed from, for clients that ask for it")
	flags.StringVar(&f.ports, "ports", fmt.Sprintf("%d-%d", relay.DefaultPortLow, relay.DefaultPortHigh), "relayed ports, `LOW-HIGH`, both included")
	flags.StringVar(&f.realm, "realm", relay.DefaultRealm, "`realm` of the credentials")
	flags.StringVar(&f.credentialsFile, "credentials-file", "", "`file` of lines name:password")
	flags.StringVar(&f.secretFile, "secret-file", "", "`file` with the secrets of time-limited credentials, one a line (user EXPIRY[:NAME], password base64(HMAC-SHA1(secret, user)))")
	flags.StringSliceVar(&f.allowPeers, "allow-peer", nil, "`prefix` of peers to relay to although they are not public; may be repeated")
	flags.StringSliceVar(&f.denyPeers, "deny-peer", nil, "`prefix` of peers never to relay to; wins over --allow-peer; may be repeated")
	flags.IntVar(&f.maxPerUser, "max-allocations-per-user", relay.DefaultAllocationsUser, "`number` of relayed addresses, reserved ones included, that one user may hold")
	flags.IntVar(&f.maxPerAddress, "max-allocations-per-address", 0, "`number` of them that one address, or IPv6 network of 64 bits, may hold (default: no bound)")
	flags.IntVar(&f.max, "max-allocations", 0, "`number` of them in all (default: as many as there are ports)")
	flags.Int64Var(&f.rateAllocation, "rate-per-allocation", 0, "`bytes` a second that one allocation may relay, both ways together; more is dropped (default: no bound)")
	flags.Int64Var(&f.rateUser, "rate-per-user", 0, "`bytes` a second of all allocations of one user (default: no bound)")
	flags.Int64Var(&f.rateAll, "rate", 0, "`bytes` a second in all (default: no bound)")
	flags.BoolVar(&f.noMobility, "no-mobility", false, "give no tickets by which allocations move with their clients (RFC 8016)")
	flags.BoolVar(&f.advance, "advance", false, "answer a stranger's first request although the answer is longer, within bounds; without it most clients, not ours, get it when they repeat their request")
	flags.DurationVar(&f.drainTime, "drain-time", 0, "how long allocations may go on after SIGTERM, while no new ones are made (default: they end at once)")
	flags.StringSliceVar(&f.alternates, "alternate-server", nil, "`IP:PORT` of a relay that clients are sent to meanwhile (300); one of each family")
	flags.BoolVar(&f.strictChannels, "strict-channels", false, "take channel numbers of RFC 8656 only (0x4000-0x4FFF), not RFC 5766's up to 0x7FFF")
	flags.StringVar(&f.fastPath, "fast-path", "off", "`word` for whether the kernel passes on by itself what goes through channels, which the host's firewall does not see then: off, auto (where it can and may) or on")
	f.streams.add(flags)
	flags.BoolVar(&f.verbose, "verbose", false, "print each allocation's beginning and end")
	return cmd
}

// config turns the command line into a configuration. Errors name the flag, or
// file and line.
func (f *relayFlags) config() (relay.ServerConfig, error) {
	cfg := relay.ServerConfig{
		Realm:                    f.realm,
		MaxAllocationsPerUser:    f.maxPerUser,
		MaxAllocationsPerAddress: f.maxPerAddress,
		MaxAllocations:           f.max,
		Rates:                    relay.Rates{Allocation: f.rateAllocation, User: f.rateUser, Server: f.rateAll},
		NoMobility:               f.noMobility,
		Advance:                  f.advance,
		StrictChannels:           f.strictChannels,
		Rand:                     rand.Reader,
	}
	var err error
	if cfg.Listen, err = addressFlag("listen", f.listen); err != nil {
		return cfg, err
	}
	switch {
	case f.relayAddress == "" && f.relayAddress6 == "":
		return cfg, usage("--relay-address IP is required: the address of this host that peers shall see")
	case f.realm == "":
		return cfg, usage("--realm is empty")
	case f.maxPerUser < 1:
		return cfg, usage("--max-allocations-per-user %d: at least 1", f.maxPerUser)
	case f.maxPerAddress < 0 || f.max < 0:
		return cfg, usage("--max-allocations-per-address %d, --max-allocations %d: at least 1, or 0 for no bound", f.maxPerAddress, f.max)
	case f.rateAllocation < 0 || f.rateUser < 0 || f.rateAll < 0:
		return cfg, usage("--rate, --rate-per-user, --rate-per-allocation: bytes a second, or 0 for no bound")
	case f.drainTime < 0:
		return cfg, usage("--drain-time %v: want a time, or 0 to stop at once", f.drainTime)
	}
	if f.relayAddress != "" {
		if cfg.RelayAddress, err = netip.ParseAddr(f.relayAddress); err != nil || !cfg.RelayAddress.Is4() {
			return cfg, usage("--relay-address %q: want an IPv4 address, such as 198.18.0.20", f.relayAddress)
		}
	}
	if f.relayAddress6 != "" {
		if cfg.RelayAddress6, err = netip.ParseAddr(f.relayAddress6); err != nil || !cfg.RelayAddress6.Is6() || cfg.RelayAddress6.Is4In6() {
			return cfg, usage("--relay-address6 %q: want an IPv6 address, such as 2001:db8::20", f.relayAddress6)
		}
	}
	if cfg.PortLow, cfg.PortHigh, err = parsePorts(f.ports); err != nil {
		return cfg, usage("--ports %q: %w", f.ports, err)
	}
	if cfg.AllowPeers, err = parsePrefixes("--allow-peer", f.allowPeers); err != nil {
		return cfg, err
	}
	if cfg.DenyPeers, err = parsePrefixes("--deny-peer", f.denyPeers); err != nil {
		return cfg, err
	}
	if cfg.TCP, cfg.TLS, err = f.streams.addresses(); err != nil {
		return cfg, err
	}
	cfg.Authenticators, err = f.authenticators()
	return cfg, err
}

// authenticators reads the credentials; long-term users come first.
func (f *relayFlags) authenticators() (as []relay.Authenticator, err error) {
	if f.credentialsFile == "" && f.secretFile == "" {
		return nil, usage("give --credentials-file or --secret-file (or both): without credentials nobody could use the relay")
	}
	if f.credentialsFile != "" {
		users, err := readFile(f.credentialsFile, relay.ReadUsers)
		if err != nil {
			return nil, usage("--credentials-file: %w", err)
		}
		as = append(as, users)
	}
	if f.secretFile != "" {
		secrets, err := readFile(f.secretFile, relay.ReadSharedSecrets)
		if err != nil {
			return nil, usage("--secret-file: %w", err)
		}
		for _, s := range secrets {
			as = append(as, s)
		}
	}
	return as, nil
}

func readFile[T any](name string, read func(r io.Reader, file string) (T, error)) (v T, err error) {
	file, err := os.Open(name)
	if err != nil {
		return v, err // names the file and the cause
	}
	defer file.Close()
	return read(file, name)
}

func parsePorts(text string) (low, high uint16, err error) {
	a, b, found := strings.Cut(text, "-")
	l, errLow := strconv.ParseUint(a, 10, 16)
	h, errHigh := strconv.ParseUint(b, 10, 16)
	if !found || errLow != nil || errHigh != nil || l == 0 || l > h {
		return 0, 0, errors.New("want LOW-HIGH with 1 ≤ LOW ≤ HIGH ≤ 65535, such as 49152-65535")
	}
	return uint16(l), uint16(h), nil
}

// parsePrefixes reads prefixes; a bare address is the prefix of it alone.
func parsePrefixes(flag string, texts []string) ([]netip.Prefix, error) {
	var prefixes []netip.Prefix
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if addr, errAddr := netip.ParseAddr(text); err != nil && errAddr == nil {
			p, err = netip.PrefixFrom(addr, addr.BitLen()), nil
		}
		if err != nil {
			return nil, usage("%s %q: want a prefix such as 10.1.0.0/16", flag, text)
		}
		prefixes = append(prefixes, p.Masked())
	}
	return prefixes, nil
}

// build makes the relay, and has it be a server of the process.
func (f *relayFlags) build(cmd *cobra.Command, sv *service.Service) error {
	cfg, err := f.config()
	if err != nil {
		return err
	}
	rc := udp.RelayConfig{Server: cfg, DrainTime: f.drainTime, Verbose: f.verbose, Log: sv.Log(), Metrics: serverMetrics(sv, "relay")}
	var known bool
	if rc.FastPath, known = udp.FastPaths[f.fastPath]; !known {
		return usage("--fast-path %q: want off, auto or on", f.fastPath)
	}
	for _, text := range f.alternates {
		a, err := addressFlag("alternate-server", text)
		if err != nil {
			return err
		}
		rc.Alternates = append(rc.Alternates, a)
	}
	streams := ""
	rc.Streams = f.streams.config()
	rc.Streaming = func(tcp, tls netip.AddrPort) { streams = ways(tcp, tls) }
	rc.Listening = func(at netip.AddrPort) {
		from := make([]string, 0, 2)
		for _, a := range []netip.Addr{cfg.RelayAddress, cfg.RelayAddress6} {
			if a.Is6() {
				from = append(from, fmt.Sprintf("[%s]:%d-%d", a, cfg.PortLow, cfg.PortHigh))
			} else if a.IsValid() {
				from = append(from, fmt.Sprintf("%s:%d-%d", a, cfg.PortLow, cfg.PortHigh))
			}
		}
		fmt.Fprintf(cmd.OutOrStdout(), "relay listening on %s%s relaying from %s realm %q\n", at, streams, strings.Join(from, " and "), cfg.Realm)
	}
	r, err := udp.NewRelay(rc)
	if err != nil {
		return usage("%w", err)
	}
	sv.Add(service.Server{Name: "relay", Run: r.Run, Ready: r.Ready})
	f.streams.watch(sv)
	sv.Watch("credentials", func() error {
		as, err := f.authenticators()
		if err != nil {
			return err
		}
		return r.SetAuthenticators(as)
	}, slices.DeleteFunc([]string{f.credentialsFile, f.secretFile}, func(file string) bool { return file == "" })...)
	return nil
}
