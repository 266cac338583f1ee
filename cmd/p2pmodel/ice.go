package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"p2pmodel/core/ice"
	"p2pmodel/core/ice/signalling"
	"p2pmodel/core/punch"
	"p2pmodel/core/sansio"
)

// iceFlags are the command line of p2pmodel ice, as text.
type iceFlags struct {
	signal, name, peer           string
	listen, stun, turn, username string
	passwordFile, role           string
	noTrickle, relayOnly         bool
	renomination                 bool
	interval, restartAfter       time.Duration
}

// icePayload is the size of a datagram that p2pmodel ice sends, in bytes.
const icePayload = 64

func newICECommand() *cobra.Command {
	var f iceFlags
	cmd := &cobra.Command{
		Use:   "ice --signal URL",
		Short: "Run a standard ICE agent, which talks to agents of others",
		Long: `Run a standard ICE agent (RFC 8445) that looks for a path to one other agent,
whosever it is, and then sends it datagrams of random bytes until it is ended. The
two tell each other of themselves by the mailboxes of p2pmodel signal, or of the
programs in scenarios/foreign.

On a host of a laboratory it takes what no flag says from the environment:
$LAB_NAME, $LAB_PEER, $LAB_DIALS (1: it controls), $LAB_RENDEZVOUS (STUN),
$LAB_RELAY, $LAB_RELAY_USER and $LAB_RELAY_PASSWORD. It prints its events as
docs/programs.md says, one JSON object a line, so that it stands in a peer's place.`,
		Example: `  p2pmodel signal --listen 127.0.0.1:8080
  p2pmodel ice --signal http://127.0.0.1:8080 --name a --peer b --role controlling
  p2pmodel ice --signal http://127.0.0.1:8080 --name b --peer a --role controlled`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := f.config()
			if err != nil {
				return err
			}
			return runICE(cmd, &f, cfg)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.signal, "signal", "", "`URL` of the mailboxes (required)")
	flags.StringVar(&f.name, "name", "", "our `name` there (default $LAB_NAME)")
	flags.StringVar(&f.peer, "peer", "", "the other's `name` (default $LAB_PEER)")
	flags.StringVar(&f.listen, "listen", "", "local `IP:PORT` of the only socket (default: one for each address, any port)")
	flags.StringVar(&f.stun, "stun", "", "`IP:PORT` of a STUN server (default $LAB_RENDEZVOUS, or none)")
	flags.StringVar(&f.turn, "turn", "", "`IP:PORT` of a TURN server (default $LAB_RELAY, or none)")
	flags.StringVar(&f.username, "username", "", "`name` at the TURN server (default $LAB_RELAY_USER)")
	flags.StringVar(&f.passwordFile, "password-file", "", "`file` with the password at the TURN server (default: $LAB_RELAY_PASSWORD itself)")
	flags.StringVar(&f.role, "role", "", "controlling or controlled (default: controlling if $LAB_DIALS is 1)")
	flags.BoolVar(&f.noTrickle, "no-trickle", false, "tell all candidates at once, when they are known")
	flags.BoolVar(&f.relayOnly, "relay-only", false, "tell and use relayed candidates only")
	flags.BoolVar(&f.renomination, "renomination", false, "move to a better path later, where the other side announces that, too")
	flags.DurationVar(&f.interval, "interval", 20*time.Millisecond, "time between two datagrams")
	flags.DurationVar(&f.restartAfter, "restart-after", 0, "how long after the first path an ICE restart begins; 0: never")
	return cmd
}

// fallback is a flag's value, or the environment's.
func fallback(value, variable string) string {
	if value == "" {
		return os.Getenv(variable)
	}
	return value
}

// config turns the command line into a configuration. Errors name the flag.
func (f *iceFlags) config() (cfg signalling.Config, err error) {
	box := signalling.Mailbox{Server: f.signal, Own: fallback(f.name, "LAB_NAME"), Other: fallback(f.peer, "LAB_PEER")}
	switch {
	case box.Server == "":
		return cfg, usage("--signal URL is required")
	case box.Own == "" || box.Other == "" || box.Own == box.Other:
		return cfg, usage("--name and --peer, or $LAB_NAME and $LAB_PEER, have to be two names")
	case f.interval <= 0:
		return cfg, usage("--interval %v: more than 0", f.interval)
	case f.restartAfter < 0:
		return cfg, usage("--restart-after %v is negative", f.restartAfter)
	}
	f.name, f.peer = box.Own, box.Other
	cfg = signalling.Config{Mailbox: box, Trickle: !f.noTrickle, ICE: ice.Config{Rand: rand.Reader, RelayOnly: f.relayOnly, Renomination: f.renomination}}
	switch role := f.role; {
	case role == "controlling", role == "" && os.Getenv("LAB_DIALS") == "1":
		cfg.ICE.Controlling = true
	case role != "" && role != "controlled":
		return cfg, usage("--role %q: want controlling or controlled", role)
	}
	if f.listen != "" {
		if cfg.ICE.Listen, err = addressFlag("listen", f.listen); err != nil {
			return cfg, err
		}
	}
	if server := fallback(f.stun, "LAB_RENDEZVOUS"); server != "" {
		addr, err := addressFlag("stun", server)
		if err != nil {
			return cfg, err
		}
		cfg.ICE.STUN = []netip.AddrPort{addr}
	}
	if server := fallback(f.turn, "LAB_RELAY"); server != "" {
		way := ice.Relay{Username: fallback(f.username, "LAB_RELAY_USER"), Password: os.Getenv("LAB_RELAY_PASSWORD")}
		if way.Server, err = addressFlag("turn", server); err != nil {
			return cfg, err
		}
		if f.passwordFile != "" {
			if way.Password, err = readFile(f.passwordFile, readPassword); err != nil {
				return cfg, usage("--password-file: %w", err)
			}
		}
		if way.Username == "" || way.Password == "" {
			return cfg, usage("--turn needs --username and --password-file")
		}
		cfg.ICE.TURN = []ice.Relay{way}
	}
	return cfg, nil
}

// runICE runs the agent until the command's context ends.
func runICE(cmd *cobra.Command, f *iceFlags, cfg signalling.Config) error {
	printer := newPrinter(cmd.OutOrStdout(), true)
	var lines sync.Mutex
	say := func(event string, fields ...field) {
		lines.Lock()
		defer lines.Unlock()
		printer.line(time.Now(), event, fields...)
	}
	other := field{"peer", f.peer}
	up := make(chan struct{}, 1)
	cfg.OnRemote = func() { say("introduced", other) }
	cfg.OnEvent = func(e sansio.Event) {
		switch e := e.(type) {
		case ice.Settled:
			say("settled", other, field{"path", e.Path.Kind.String()}, field{"text", fmt.Sprintf("%v → %v", e.Path.Local, e.Path.Remote)})
		case ice.StateChanged:
			stateChanged(say, other, e)
		case ice.PathChanged:
			if e.New.Kind != punch.NoPath {
				select {
				case up <- struct{}{}:
				default:
				}
			}
		case ice.ServerFailed:
			say("server_failed", field{"text", e.Err.Error()})
		}
	}
	s, err := signalling.Start(context.WithoutCancel(cmd.Context()), cfg)
	if err != nil {
		return usage("%w", err)
	}
	defer s.Close()
	say("ready")
	return f.talk(cmd.Context(), s, up)
}

// stateChanged tells of what the laboratory has to know.
func stateChanged(say func(string, ...field), other field, e ice.StateChanged) {
	say("state", field{"text", e.State.String()})
	switch e.State {
	case ice.Disconnected:
		say("lost", other)
	case ice.Failed:
		say("settled", other, field{"path", "none"}, field{"text", e.Err.Error()})
	}
}

// talk sends datagrams. What arrives is for the witness.
func (f *iceFlags) talk(ctx context.Context, s *signalling.Session, up <-chan struct{}) error {
	drained := make(chan struct{})
	defer func() { <-drained }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer close(drained)
		for {
			if _, err := s.Receive(ctx); err != nil {
				return
			}
		}
	}()
	ticker := time.NewTicker(f.interval)
	defer ticker.Stop()
	var restart <-chan time.Time
	for b := make([]byte, icePayload); ; {
		select {
		case <-ctx.Done():
			return nil
		case err := <-s.Failed():
			return err
		case <-up:
			if f.restartAfter > 0 {
				restart = time.After(f.restartAfter)
				f.restartAfter = 0
			}
		case <-restart:
			if err := s.Restart(); err != nil {
				return err
			}
		case <-ticker.C:
			_, _ = rand.Read(b)
			b[0] |= 0x80 // never reads like STUN (RFC 7983)
			if err := s.Send(b); errors.Is(err, ice.ErrClosed) {
				return err
			} // otherwise there is no path yet, or not any more
		}
	}
}

func newSignalCommand() *cobra.Command {
	var listen string
	cmd := &cobra.Command{
		Use:   "signal --listen IP:PORT",
		Short: "Run mailboxes by which ICE agents find each other, for laboratories",
		Long: `Run mailboxes over HTTP by which ICE agents tell each other what they have to know:
those of p2pmodel ice, and the programs in scenarios/foreign. They are for
laboratories: whoever reaches them reads and writes everything.

Once ready it prints one line:
  signal listening on IP:PORT`,
		Example: "  p2pmodel signal --listen 198.18.0.4:8080",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			addr, err := addressFlag("listen", listen)
			if err != nil {
				return err
			}
			l, err := net.Listen("tcp", addr.String())
			if err != nil {
				return fmt.Errorf("listen: %w", err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "signal listening on %v\n", l.Addr())
			return signalling.NewServer().Serve(cmd.Context(), l)
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "", "`IP:PORT` to listen on (required)")
	return cmd
}
