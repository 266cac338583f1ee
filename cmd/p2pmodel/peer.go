package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"p2pmodel/core/identity"
	"p2pmodel/core/peer"
	"p2pmodel/core/relay"
	"p2pmodel/core/sansio"
	"p2pmodel/core/ticket"
)

// peerFlags are the command line of p2pmodel peer, as text.
type peerFlags struct {
	rendezvous, rendezvousKey, listen  string
	relays                             []string
	username, passwordFile, secretFile string
	keyFile, seed, ticketFile          string
	connect, join                      []string
	echo, relayOnly                    bool
	sendInterval                       time.Duration
	count, payloadSize                 int
	linger                             time.Duration
	keepalive, consent, deadAfter      time.Duration
	noKeepalive, noConsent             bool
	events                             string
	ways                               wayFlags
}

// credentialsLife is how long the credentials made from a shared secret are
// good.
const credentialsLife = 24 * time.Hour

func newPeerCommand() *cobra.Command {
	var f peerFlags
	cmd := &cobra.Command{
		Use:   "peer --rendezvous IP:PORT [--relay IP:PORT --username U --password-file F] [--connect ID | --join ROOM]",
		Short: "Run a peer: register, allocate, connect to other peers, exchange datagrams",
		Long: `Run a peer. It registers at the rendezvous, allocates at the relay, connects to
the peers named by --connect and to all members of the rooms named by --join,
and accepts whoever connects to it.

Once its socket is open it prints one line:
  peer ID listening on IP:PORT
With --events json it prints an object a line instead, each with "time" (RFC
3339) and "event", the first one "ready"; docs/protocol.md lists the fields.

SIGHUP has --ticket-file, --password-file and --secret-file read anew; the peer goes
on with what is in them.

With --send-interval it sends numbered datagrams to everyone it is connected
with; --echo answers those of others. With --count it ends some time after the
last one.`,
		Example: `  p2pmodel peer --rendezvous 198.18.0.10:3478 --relay 198.18.0.20:3478 --username alice --password-file pw --echo
  p2pmodel peer --rendezvous 198.18.0.10:3478 --connect ID --send-interval 100ms --count 50 --events json`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := f.config(time.Now())
			if err != nil {
				return err
			}
			targets, err := f.targets(cfg.Key.ID())
			if err != nil {
				return err
			}
			return runPeer(cmd, &f, cfg, targets)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.rendezvous, "rendezvous", "", "`IP:PORT` of the rendezvous (required)")
	flags.StringVar(&f.rendezvousKey, "rendezvous-key", "", "public `KEY` that the rendezvous has to have (default: any)")
	flags.StringVar(&f.listen, "listen", "", "local `IP:PORT` of the socket (default: any)")
	flags.StringArrayVar(&f.relays, "relay", nil, "`IP:PORT` of a relay to allocate at; of several, with the same credentials, the nearest are used")
	flags.StringVar(&f.username, "username", "", "`name` at the relay")
	flags.StringVar(&f.passwordFile, "password-file", "", "`file` with the password at the relay")
	flags.StringVar(&f.secretFile, "secret-file", "", "`file` with the relay's secret, to make time-limited credentials from")
	flags.StringVar(&f.keyFile, "key-file", "", "`file` with the private key; made if missing (default: a new key each time)")
	flags.StringVar(&f.ticketFile, "ticket-file", "", "`file` with the ticket that the rendezvous asks for, in base64")
	flags.StringVar(&f.seed, "seed", "", "private key as 64 `hex` digits, for tests: command lines are no secret")
	flags.StringArrayVar(&f.connect, "connect", nil, "`ID` of a peer to connect to; may be repeated")
	flags.StringArrayVar(&f.join, "join", nil, "`room` to join; may be repeated")
	flags.BoolVar(&f.echo, "echo", false, "send back what peers send")
	flags.BoolVar(&f.relayOnly, "relay-only", false, "make and answer no direct checks: everything goes over a relay")
	flags.DurationVar(&f.sendInterval, "send-interval", 0, "time between datagrams to each peer; 0: send none")
	flags.IntVar(&f.count, "count", 0, "how many datagrams to send to each peer; 0: no end")
	flags.IntVar(&f.payloadSize, "payload-size", 64, fmt.Sprintf("`bytes` a datagram, %d to %d", minPayload, peer.MaxPayload))
	flags.DurationVar(&f.linger, "linger", time.Second, "how long to wait for answers after the last of --count")
	flags.DurationVar(&f.keepalive, "keepalive", 0, "time between keepalives, also those to rendezvous and relay (default: each its own)")
	flags.DurationVar(&f.consent, "consent", 0, "time between consent checks, at most (default 5s)")
	flags.DurationVar(&f.deadAfter, "dead-after", 0, "how long a path may leave checks unanswered (default 2s)")
	flags.BoolVar(&f.noKeepalive, "no-keepalive", false, "keep nothing alive, for experiments")
	flags.BoolVar(&f.noConsent, "no-consent", false, "never ask whether a path lives, for experiments")
	f.ways.add(flags)
	flags.StringVar(&f.events, "events", "text", "how to print events: text or json")
	return cmd
}

// config turns the command line into a configuration. Errors name the flag.
func (f *peerFlags) config(now time.Time) (peer.Config, error) {
	cfg := peer.Config{
		Rand: rand.Reader, Keepalive: f.keepalive, Consent: f.consent, DeadAfter: f.deadAfter,
		Techniques: peer.Techniques{RelayOnly: f.relayOnly},
	}
	servers, err := f.servers(now)
	if err != nil {
		return cfg, err
	}
	cfg.Rendezvous, cfg.RendezvousKey, cfg.Ticket, cfg.Relays = servers.Rendezvous, servers.RendezvousKey, servers.Ticket, servers.Relays
	cfg.RendezvousStreams = servers.RendezvousStreams
	if cfg.Roots, err = f.ways.roots(); err != nil {
		return cfg, err
	}
	if f.listen != "" {
		if cfg.Listen, err = addressFlag("listen", f.listen); err != nil {
			return cfg, err
		}
	}
	if err := f.checkNumbers(); err != nil {
		return cfg, err
	}
	if f.noKeepalive {
		cfg.Keepalive = -1
	}
	if f.noConsent {
		cfg.Consent = -1
	}
	cfg.Key, err = f.key()
	return cfg, err
}

// servers are the rendezvous and the relay, with what they want to see.
func (f *peerFlags) servers(now time.Time) (s peer.Servers, err error) {
	if s.Rendezvous, err = addressFlag("rendezvous", f.rendezvous); err != nil {
		return s, err
	}
	if f.rendezvousKey != "" {
		key, err := identity.ParseID(f.rendezvousKey)
		if err != nil {
			return s, usage("--rendezvous-key: %w", err)
		}
		s.RendezvousKey = &key
	}
	if f.ticketFile != "" {
		if s.Ticket, err = readFile(f.ticketFile, readTicket); err != nil {
			return s, usage("--ticket-file: %w", err)
		}
	}
	if s.Relays, err = f.relayConfigs(now); err != nil {
		return s, err
	}
	return s, f.ways.complete(&s)
}

// readTicket reads a file's only line, which is base64.
func readTicket(r io.Reader, file string) ([]byte, error) {
	line, err := readLine(r)
	if err != nil {
		return nil, err
	}
	raw, err := base64.StdEncoding.DecodeString(line)
	if err != nil || len(raw) == 0 || len(raw) > ticket.MaxSize {
		return nil, fmt.Errorf("%s: want one line, a ticket of at most %d bytes in base64", file, ticket.MaxSize)
	}
	return raw, nil
}

func (f *peerFlags) checkNumbers() error {
	for name, d := range map[string]time.Duration{
		"send-interval": f.sendInterval, "linger": f.linger, "keepalive": f.keepalive, "consent": f.consent, "dead-after": f.deadAfter,
	} {
		if d < 0 {
			return usage("--%s %v is negative", name, d)
		}
	}
	switch {
	case f.noKeepalive && f.keepalive != 0:
		return usage("--keepalive and --no-keepalive exclude each other")
	case f.noConsent && f.consent != 0:
		return usage("--consent and --no-consent exclude each other")
	case f.count < 0:
		return usage("--count %d is negative", f.count)
	case f.count > 0 && f.sendInterval == 0:
		return usage("--count needs --send-interval")
	case f.payloadSize < minPayload || f.payloadSize > peer.MaxPayload:
		return usage("--payload-size %d: want %d to %d", f.payloadSize, minPayload, peer.MaxPayload)
	case f.events != "text" && f.events != "json":
		return usage("--events %q: want text or json", f.events)
	}
	return nil
}

func (f *peerFlags) key() (identity.Key, error) {
	if f.seed == "" {
		return loadKey(f.keyFile)
	}
	if f.keyFile != "" {
		return identity.Key{}, usage("--seed and --key-file exclude each other")
	}
	raw, err := hex.DecodeString(f.seed)
	if err != nil || len(raw) != identity.Size {
		return identity.Key{}, usage("--seed has %d characters: want %d hexadecimal digits", len(f.seed), 2*identity.Size)
	}
	return identity.KeyFromSeed([identity.Size]byte(raw)), nil
}

func (f *peerFlags) relayConfigs(now time.Time) (list []peer.RelayConfig, err error) {
	if len(f.relays) == 0 {
		if f.username != "" || f.passwordFile != "" || f.secretFile != "" {
			return nil, usage("--username, --password-file and --secret-file are about a relay: give --relay IP:PORT")
		}
		return nil, nil
	}
	cfg := peer.RelayConfig{Username: f.username}
	switch {
	case (f.passwordFile == "") == (f.secretFile == ""):
		return nil, usage("--relay needs either --password-file or --secret-file")
	case f.secretFile != "":
		secret, err := readFile(f.secretFile, relay.ReadSharedSecret)
		if err != nil {
			return nil, usage("--secret-file: %w", err)
		}
		cfg.Username, cfg.Password = secret.Credentials(f.username, now.Add(credentialsLife))
	case f.username == "":
		return nil, usage("--password-file needs --username")
	default:
		if cfg.Password, err = readFile(f.passwordFile, readPassword); err != nil {
			return nil, usage("--password-file: %w", err)
		}
	}
	for _, relay := range f.relays {
		if cfg.Server, err = addressFlag("relay", relay); err != nil {
			return nil, err
		}
		list = append(list, cfg)
	}
	return list, nil
}

// readPassword reads a file's only line.
func readPassword(r io.Reader, file string) (string, error) {
	line, err := readLine(r)
	if err != nil {
		return "", err
	}
	if line == "" || strings.ContainsAny(line, "\r\n") {
		return "", fmt.Errorf("%s: want one line with the password", file)
	}
	return line, nil
}

// readLine reads a file without its last line end.
func readLine(r io.Reader) (string, error) {
	text, err := io.ReadAll(io.LimitReader(r, 4096))
	return strings.TrimRight(string(text), "\r\n"), err
}

func (f *peerFlags) targets(own identity.ID) (ids []identity.ID, err error) {
	for _, text := range f.connect {
		id, err := identity.ParseID(text)
		if err != nil {
			return nil, usage("--connect: %w", err)
		}
		if id == own {
			return nil, usage("--connect %s: that is this peer itself", text)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// runPeer runs the peer until the command's context ends, or until it has sent
// what it was to send.
func runPeer(cmd *cobra.Command, f *peerFlags, cfg peer.Config, targets []identity.ID) error {
	m, err := peer.NewMachine(cfg)
	if err != nil {
		return usage("%w", err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(cmd.Context()))
	defer cancel()
	printer := newPrinter(cmd.OutOrStdout(), f.events == "json")
	traffic := newTraffic(m, printer, f)
	var failed error
	bound := false
	loop := sansio.NewLoop(sansio.Streams(m, sansio.StreamConfig{Roots: cfg.Roots}), sansio.System(), func(at time.Time, e sansio.Event) {
		printer.event(at, m.ID(), e)
		switch e := e.(type) {
		case peer.Bound:
			bound = true
			failed = begin(m, at, targets, f.join)
		case peer.Failed:
			if !bound {
				failed = e.Err
			}
		case peer.Received:
			traffic.received(at, e)
		}
		if failed != nil {
			cancel()
		}
	})
	ended := make(chan struct{})
	go func() { // says farewell, then stops the loop
		defer cancel()
		select {
		case <-ended:
			return
		case <-cmd.Context().Done():
		case <-traffic.run(cmd.Context(), loop):
		}
		loop.Do(func(now time.Time) {
			printer.stats(now, m.Stats())
			m.Shutdown(now)
		})
	}()
	renewed := reload(ctx, cmd, func() (string, error) {
		servers, err := f.servers(time.Now())
		if err == nil {
			loop.Do(func(now time.Time) { err = m.SetServers(now, servers) })
		}
		return "the peer goes on with what is in the files", err
	})
	err = loop.Run(ctx)
	close(ended)
	cancel()
	<-renewed
	return errors.Join(err, failed)
}

// begin asks for what the command line names.
func begin(m *peer.Machine, now time.Time, targets []identity.ID, rooms []string) error {
	for _, id := range targets {
		if err := m.Connect(now, id); err != nil {
			return usage("--connect: %w", err)
		}
	}
	for _, name := range rooms {
		if err := m.Join(now, name); err != nil {
			return usage("--join: %w", err)
		}
	}
	return nil
}
