package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"p2pmodel/core/relay"
	"p2pmodel/core/sansio"
)

// relayFlags are the command line of p2pmodel relay, as text.
type relayFlags struct {
	listen, relayAddress, ports, realm string
	credentialsFile, secretFile        string
	allowPeers, denyPeers              []string
	maxAllocationsPerUser              int
	strictChannels, verbose            bool
}

func newRelayCommand() *cobra.Command {
	var f relayFlags
	cmd := &cobra.Command{
		Use:   "relay --listen IP:PORT --relay-address IP {--credentials-file F | --secret-file F}",
		Short: "Run a TURN server over UDP (RFC 8656)",
		Long: `Run a TURN server over UDP (RFC 8656): the way around for peers that find no
direct path. It answers STUN Binding requests as well.

Peers on addresses that are not public are refused unless --allow-peer names
them. 198.18.0.0/15, the benchmarking network, counts as public.

SIGHUP has the files of credentials read anew. Allocations that there are go on by
the credentials that made them, until these expire; new ones need what is in the
files. While a secret changes, the file may hold both, one a line.

Once ready it prints one line:
  relay listening on IP:PORT relaying from IP:LOW-HIGH realm "REALM"`,
		Example: `  p2pmodel relay --listen 198.18.0.20:3478 --relay-address 198.18.0.20 \
      --ports 49152-65535 --realm example.org --credentials-file users.txt`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := f.config()
			if err != nil {
				return err
			}
			return runRelay(cmd, cfg, &f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.listen, "listen", "", "`IP:PORT` that clients come to (required)")
	flags.StringVar(&f.relayAddress, "relay-address", "", "IPv4 `address` of this host that peers are relayed from (required)")
	flags.StringVar(&f.ports, "ports", fmt.Sprintf("%d-%d", relay.DefaultPortLow, relay.DefaultPortHigh), "relayed ports, `LOW-HIGH`, both included")
	flags.StringVar(&f.realm, "realm", relay.DefaultRealm, "`realm` of the credentials")
	flags.StringVar(&f.credentialsFile, "credentials-file", "", "`file` of lines name:password")
	flags.StringVar(&f.secretFile, "secret-file", "", "`file` with the secrets of time-limited credentials, one a line (user EXPIRY[:NAME], password base64(HMAC-SHA1(secret, user)))")
	flags.StringSliceVar(&f.allowPeers, "allow-peer", nil, "`prefix` of peers to relay to although they are not public; may be repeated")
	flags.StringSliceVar(&f.denyPeers, "deny-peer", nil, "`prefix` of peers never to relay to; wins over --allow-peer; may be repeated")
	flags.IntVar(&f.maxAllocationsPerUser, "max-allocations-per-user", relay.DefaultAllocationsUser, "`number` of allocations and reservations that one user may hold")
	flags.BoolVar(&f.strictChannels, "strict-channels", false, "take channel numbers of RFC 8656 only (0x4000-0x4FFF), not RFC 5766's up to 0x7FFF")
	flags.BoolVar(&f.verbose, "verbose", false, "print each allocation's beginning and end")
	return cmd
}

// config turns the command line into a configuration. Errors name the flag, or
// file and line.
func (f *relayFlags) config() (relay.ServerConfig, error) {
	cfg := relay.ServerConfig{
		Realm:                 f.realm,
		MaxAllocationsPerUser: f.maxAllocationsPerUser,
		StrictChannels:        f.strictChannels,
		Rand:                  rand.Reader,
	}
	var err error
	if cfg.Listen, err = addressFlag("listen", f.listen); err != nil {
		return cfg, err
	}
	switch {
	case f.relayAddress == "":
		return cfg, usage("--relay-address IP is required: the address of this host that peers shall see")
	case f.realm == "":
		return cfg, usage("--realm is empty")
	case f.maxAllocationsPerUser < 1:
		return cfg, usage("--max-allocations-per-user %d: at least 1", f.maxAllocationsPerUser)
	}
	if cfg.RelayAddress, err = netip.ParseAddr(f.relayAddress); err != nil {
		return cfg, usage("--relay-address %q: want an IPv4 address, such as 198.18.0.20", f.relayAddress)
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

// runRelay runs the relay until the command's context ends.
func runRelay(cmd *cobra.Command, cfg relay.ServerConfig, f *relayFlags) error {
	server, err := relay.NewServer(cfg)
	if err != nil {
		return usage("%w", err)
	}
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	var failed error
	loop := sansio.NewLoop(server, sansio.System(), func(at time.Time, e sansio.Event) {
		switch e := e.(type) {
		case relay.Listening:
			fmt.Fprintf(cmd.OutOrStdout(), "relay listening on %s relaying from %s:%d-%d realm %q\n",
				e.Addr, cfg.RelayAddress, cfg.PortLow, cfg.PortHigh, cfg.Realm)
		case relay.ListenFailed:
			failed = fmt.Errorf("listen on %s: %w", cfg.Listen, e.Err)
			cancel()
		default:
			if f.verbose {
				fmt.Fprintln(cmd.ErrOrStderr(), at.UTC().Format(time.RFC3339Nano), describeAllocation(e))
			}
		}
	})
	ended := reload(ctx, cmd, func() (string, error) {
		as, err := f.authenticators()
		if err != nil {
			return "", err
		}
		loop.Do(func(time.Time) { err = server.SetAuthenticators(as) })
		return "new allocations are now by the credentials in the files", err
	})
	defer func() { cancel(); <-ended }()
	if err := loop.Run(ctx); err != nil {
		return err
	}
	return failed
}

// describeAllocation is an event in a line; names come from clients and are
// quoted.
func describeAllocation(e sansio.Event) string {
	switch e := e.(type) {
	case relay.AllocationCreated:
		return fmt.Sprintf("allocated %s to %s, user %q, for %s", e.Relayed, e.Client, e.Username, e.Lifetime)
	case relay.AllocationRefused:
		return fmt.Sprintf("refused %s, user %q, with %d", e.Client, e.Username, e.Code)
	case relay.AllocationDeleted:
		return fmt.Sprintf("deleted %s of %s, user %q", e.Relayed, e.Client, e.Username)
	case relay.AllocationExpired:
		return fmt.Sprintf("expired %s of %s, user %q", e.Relayed, e.Client, e.Username)
	}
	return fmt.Sprintf("%T", e)
}
