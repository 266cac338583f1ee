package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"p2pmodel/cmd/p2pmodel/play"
	"p2pmodel/core/peer"
	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/client"
	"p2pmodel/core/shard/limits"
	"p2pmodel/core/shard/login"
	"p2pmodel/core/shard/service"
)

// playFlags are the command line of p2pmodel play.
type playFlags struct {
	agents              []string
	caFile, fingerprint string

	account, passwordFile, tokenFile, loginKeyFile string

	room, mode, title      string
	create, quick, noReady bool
	players                int

	keyFile, listen string
	relayOnly       bool

	headless bool
	events   string
	duration time.Duration
	patience time.Duration

	bots, roomSize, rooms int
	ramp                  time.Duration
	noTick                bool
	rate                  float64
	reportFile            string
	from                  string
}

func newPlayCommand() *cobra.Command {
	var f playFlags
	cmd := &cobra.Command{
		Use:   "play --agent HOST:PORT --account NAME",
		Short: "Play: a shared field in the terminal, with each player's path and latency; or run bots that measure",
		Long: `Play a small game in the terminal: a field on which players move, twenty ticks a
second over the mesh. Beside it stand the other players, with the path to each
(direct, or over the relay), round-trip time, loss and the longest silence; below
it what happens. Arrows move, space stops, tab shows the addresses of a path, t
talks, q quits.

Without --room, --create and --quick it joins a room of the mode that has a place,
or makes one. A match starts when all players of a room are ready, two at least;
others join while it runs.

With --headless, and where the output is no terminal, it moves about by itself and
prints what happens, a line each; with --events json a JSON object a line, each
with "time" (RFC 3339) and "event". docs/protocol.md lists the fields.

With --bots it runs many players in one process, each with a connection of its own,
and in the end prints what requests, resumptions and datagrams took. --no-tick
leaves them waiting in their rooms. --rate makes requests in addition.`,
		Example: `  p2pmodel all
  p2pmodel play --agent 127.0.0.1:8443 --ca-file p2pmodel-data/ca.crt --account ann
  p2pmodel play --agent 127.0.0.1:8443 --ca-file p2pmodel-data/ca.crt --account bot --bots 8 --room-size 16 --duration 1m
  p2pmodel play --agent a.example:443 --agent b.example:443 --token-file ann.token --quick --players 4`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := f.options()
			if err != nil {
				return err
			}
			o.Out = cmd.OutOrStdout()
			if f.bots > 0 {
				return f.runBots(cmd, o)
			}
			if f.headless || f.events == "json" || !isTerminal(cmd.OutOrStdout()) || !isTerminal(cmd.InOrStdin()) {
				return play.Lines(cmd.Context(), o)
			}
			return play.Terminal(cmd.Context(), o, cmd.InOrStdin())
		},
	}
	f.add(cmd.Flags())
	return cmd
}

func (f *playFlags) add(flags *pflag.FlagSet) {
	flags.StringSliceVar(&f.agents, "agent", nil, "`HOST:PORT` of an Agent (required); may be repeated: the session goes on at another one when one is lost")
	flags.StringVar(&f.caFile, "ca-file", "", "PEM `FILE` with the certificates of who signs the Agents' ones, and those of the UDP servers where they are reached over TLS (default: the system's)")
	flags.StringVar(&f.fingerprint, "fingerprint", "", "SHA-256 of the Agent's own certificate, as 64 hexadecimal `digits`, in place of who signed it")

	flags.StringVar(&f.account, "account", "", "`NAME` to log in with; bots are NAME-1 and so on")
	flags.StringVar(&f.passwordFile, "password-file", "", "`FILE` with the account's password (default: none, for Agents that let everybody in)")
	flags.StringVar(&f.tokenFile, "token-file", "", "`FILE` with a login token; for bots a line each")
	flags.StringVar(&f.loginKeyFile, "login-key-file", "", "PEM `FILE` with the private key that signs login tokens, to make them for --account; for bots")

	flags.StringVar(&f.room, "room", "", "`ID` of the room to play in")
	flags.BoolVar(&f.create, "create", false, "make a room to play in")
	flags.BoolVar(&f.quick, "quick", false, "play with whoever is matched")
	flags.StringVar(&f.mode, "mode", play.Mode, "`MODE` that is played: letters, digits, - and _")
	flags.StringVar(&f.title, "title", "", "`TITLE` of a room that is made (default: the account's)")
	flags.IntVar(&f.players, "players", 16, "how many `players` a room that is made takes, or --quick matches, 2 to 64")
	flags.BoolVar(&f.noReady, "no-ready", false, "do not be ready, so that the match waits")

	flags.StringVar(&f.keyFile, "key-file", "", "`FILE` with the peer's private key; made if missing (default: a new key each time)")
	flags.StringVar(&f.listen, "listen", "", "local `IP:PORT` of the peer's socket (default: any)")
	flags.BoolVar(&f.relayOnly, "relay-only", false, "make and answer no direct checks: everything goes over a relay")

	flags.BoolVar(&f.headless, "headless", false, "print lines in place of the field")
	flags.StringVar(&f.events, "events", "text", "how lines are printed: text or json")
	flags.DurationVar(&f.duration, "duration", 0, "how long to play; 0: no end. Bots count from when all are in their rooms")

	flags.DurationVar(&f.patience, "login-timeout", 0, "how long to try to log in (default 10s, for bots 2m: Agents let one address log in a few times a second)")

	flags.IntVar(&f.bots, "bots", 0, "run so many `bots`, up to 20000")
	flags.IntVar(&f.roomSize, "room-size", 8, "how many `bots` share a room, 2 to 64")
	flags.IntVar(&f.rooms, "rooms", 0, "how many `rooms` the bots share, in place of --room-size")
	flags.DurationVar(&f.ramp, "ramp", 0, "time over which the bots come")
	flags.BoolVar(&f.noTick, "no-tick", false, "bots wait in their rooms: no match, no peer, no datagrams")
	flags.Float64Var(&f.rate, "rate", 0, "`requests` a second (GetRoom) that all bots together make, as soon as all are in their rooms")
	flags.StringVar(&f.from, "from", "", "`prefix` of this machine's addresses that bots connect from, one after another, as in 127.1.0.0/16: Agents limit what comes from one address")
	flags.StringVar(&f.reportFile, "report-file", "", "`FILE` for the bots' measurements, as JSON")
}

// options turns the command line into options. Errors name the flag.
func (f *playFlags) options() (*play.Options, error) {
	o := &play.Options{
		Agents: f.agents, Room: f.room, Create: f.create, Quick: f.quick, Ready: !f.noReady,
		Duration: f.duration, LoginTimeout: f.loginTimeout(), JSON: f.events == "json", Peer: peer.Config{Techniques: peer.Techniques{RelayOnly: f.relayOnly}},
	}
	if err := f.check(); err != nil {
		return nil, err
	}
	var err error
	if o.TLS, err = f.tls(); err != nil {
		return nil, err
	}
	o.Peer.Roots = o.TLS.RootCAs
	if o.Account, err = f.accounts(); err != nil {
		return nil, err
	}
	title := f.title
	if title == "" {
		title = "field of " + o.Account(0).Name
	}
	if o.Settings, err = play.Settings(title, f.mode, f.players); err != nil {
		return nil, usage("--players: %w", err)
	}
	if err := limits.Check(&agentv1.CreateRoomRequest{Settings: o.Settings}); err != nil {
		return nil, usage("--title or --mode: %w", err)
	}
	if f.from != "" {
		if o.Dial, err = dialFrom(f.from); err != nil {
			return nil, usage("--from: %w", err)
		}
	}
	if f.listen != "" {
		if o.Peer.Listen, err = addressFlag("listen", f.listen); err != nil {
			return nil, err
		}
	}
	if f.keyFile != "" {
		if o.Key, err = loadKey(f.keyFile); err != nil {
			return nil, err
		}
	}
	return o, nil
}

func (f *playFlags) check() error {
	if len(f.agents) == 0 {
		return usage("--agent HOST:PORT is required")
	}
	for _, a := range f.agents {
		if host, port, err := net.SplitHostPort(a); err != nil || host == "" || port == "" {
			return usage("--agent %q is not HOST:PORT", a)
		}
	}
	where := 0
	for _, given := range []bool{f.room != "", f.create, f.quick} {
		if given {
			where++
		}
	}
	switch {
	case where > 1:
		return usage("--room, --create and --quick exclude each other")
	case f.room != "" && limits.Check(&agentv1.JoinRoomRequest{Room: f.room}) != nil:
		return usage("--room %q: a room's id has %d characters of a to z and 2 to 7", f.room, limits.RoomIDLength)
	case f.events != "text" && f.events != "json":
		return usage("--events %q: want text or json", f.events)
	case f.duration < 0, f.ramp < 0, f.patience < 0:
		return usage("--duration, --ramp and --login-timeout are not negative")
	case f.bots < 0 || f.bots > 20_000:
		return usage("--bots %d: want up to 20000", f.bots)
	case f.bots == 0 && (f.rooms != 0 || f.ramp != 0 || f.noTick || f.rate != 0 || f.reportFile != "" || f.from != ""):
		return usage("--rooms, --ramp, --no-tick, --rate, --from and --report-file are about --bots")
	case f.bots > 0 && (f.keyFile != "" || f.listen != ""):
		return usage("--key-file and --listen are of one player; bots have one each")
	case f.rooms < 0 || f.rate < 0:
		return usage("--rooms and --rate are not negative")
	case f.rooms == 0 && (f.roomSize < limits.MinCapacity || f.roomSize > limits.MaxCapacity):
		return usage("--room-size %d: want %d to %d", f.roomSize, limits.MinCapacity, limits.MaxCapacity)
	case f.rooms > 0 && (f.bots+f.rooms-1)/f.rooms > limits.MaxCapacity:
		return usage("--rooms %d: that is more than %d bots in each", f.rooms, limits.MaxCapacity)
	}
	return nil
}

func (f *playFlags) loginTimeout() time.Duration {
	switch {
	case f.patience > 0:
		return f.patience
	case f.bots > 0:
		return 2 * time.Minute
	}
	return 10 * time.Second
}

// tls says whom to trust.
func (f *playFlags) tls() (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS13}
	switch {
	case f.fingerprint != "" && f.caFile != "":
		return nil, usage("--fingerprint and --ca-file exclude each other")
	case f.caFile != "":
		pool, err := service.LoadPool(f.caFile)
		if err != nil {
			return nil, usage("--ca-file: %w", err)
		}
		cfg.RootCAs = pool
	case f.fingerprint != "":
		want := strings.ToLower(strings.ReplaceAll(f.fingerprint, ":", ""))
		if len(want) != 64 || strings.Trim(want, "0123456789abcdef") != "" {
			return nil, usage("--fingerprint %q: want 64 hexadecimal digits", f.fingerprint)
		}
		cfg.InsecureSkipVerify = true // the fingerprint stands for the chain
		cfg.VerifyConnection = func(s tls.ConnectionState) error { return checkFingerprint(s.PeerCertificates, want) }
	}
	return cfg, nil
}

// dialFrom has the i-th bot connect from the i-th address of a prefix, round and
// round.
func dialFrom(text string) (func(i int) func(ctx context.Context, network, address string) (net.Conn, error), error) {
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return nil, err
	}
	var addrs []netip.Addr // but for the first one, which is the network's
	for a := prefix.Masked().Addr().Next(); prefix.Contains(a) && len(addrs) < 20_000; a = a.Next() {
		addrs = append(addrs, a)
	}
	if len(addrs) == 0 {
		return nil, fmt.Errorf("%v has no addresses to choose from", prefix)
	}
	return func(i int) func(ctx context.Context, network, address string) (net.Conn, error) {
		d := &net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(addrs[i%len(addrs)], 0))}
		return d.DialContext
	}, nil
}

func checkFingerprint(certificates []*x509.Certificate, want string) error {
	if len(certificates) == 0 {
		return errors.New("the Agent has no certificate")
	}
	if got := service.Fingerprint(certificates[0]); got != want {
		return fmt.Errorf("the Agent's certificate has the fingerprint %s, not %s", got, want)
	}
	return nil
}

// anyPassword is for Agents that let everybody in: the protocol wants one.
const anyPassword = "-"

// accounts says who the players are.
func (f *playFlags) accounts() (func(i int) play.Account, error) {
	if f.tokenFile != "" {
		return f.tokens()
	}
	if f.account == "" {
		return nil, usage("--account NAME or --token-file FILE is required")
	}
	name := func(i int) string {
		if f.bots == 0 {
			return f.account
		}
		return fmt.Sprintf("%s-%d", f.account, i+1)
	}
	if err := limits.CheckPlayer("--account", name(max(f.bots-1, 0))); err != nil {
		return nil, usage("--account %q: want a name of 1 to %d characters", f.account, limits.MaxPlayer)
	}
	if f.loginKeyFile != "" {
		return f.signed(name)
	}
	password := anyPassword
	if f.passwordFile != "" {
		var err error
		if password, err = readFile(f.passwordFile, readPassword); err != nil {
			return nil, usage("--password-file: %w", err)
		}
	}
	return func(i int) play.Account {
		return play.Account{Name: name(i), Credential: client.Account(name(i), password)}
	}, nil
}

// signed makes a token at each attempt to log in: it is good once.
func (f *playFlags) signed(name func(i int) string) (func(i int) play.Account, error) {
	if f.passwordFile != "" {
		return nil, usage("--login-key-file and --password-file exclude each other")
	}
	data, err := os.ReadFile(f.loginKeyFile)
	if err != nil {
		return nil, usage("--login-key-file: %w", err)
	}
	key, err := login.ParsePrivateKey(f.loginKeyFile, data)
	if err != nil {
		return nil, usage("--login-key-file: %w", err)
	}
	return func(i int) play.Account {
		return play.Account{Name: name(i), Credential: func(ctx context.Context) (*agentv1.LoginRequest, error) {
			token, err := login.Sign(key, login.Grant{Player: name(i), Rating: openRating, Expires: time.Now().Add(time.Minute)})
			if err != nil {
				return nil, err
			}
			return client.Token(token)(ctx)
		}}
	}, nil
}

// tokens reads a token for each player.
func (f *playFlags) tokens() (func(i int) play.Account, error) {
	if f.account != "" || f.passwordFile != "" || f.loginKeyFile != "" {
		return nil, usage("--token-file says who the player is: no --account, --password-file and --login-key-file")
	}
	text, err := os.ReadFile(f.tokenFile)
	if err != nil {
		return nil, usage("--token-file: %w", err)
	}
	tokens := strings.Fields(string(text))
	if want := max(f.bots, 1); len(tokens) < want {
		return nil, usage("--token-file %s has %d tokens, want %d, a line each", f.tokenFile, len(tokens), want)
	}
	return func(i int) play.Account {
		return play.Account{Name: fmt.Sprintf("token %d", i+1), Credential: client.Token(tokens[i])}
	}, nil
}

func (f *playFlags) runBots(cmd *cobra.Command, o *play.Options) (err error) {
	if f.rooms > 0 {
		f.roomSize = max((f.bots+f.rooms-1)/f.rooms, limits.MinCapacity)
	}
	if !cmd.Flags().Changed("players") {
		o.Settings.Capacity = uint32(f.roomSize)
	}
	if f.title == "" {
		o.Settings.Title = "bots"
	}
	b := &play.BotOptions{Options: *o, Bots: f.bots, Ramp: f.ramp, RoomSize: f.roomSize, Tick: !f.noTick, Rate: f.rate}
	if !o.JSON {
		b.Table = o.Out
	}
	if f.reportFile != "" {
		file, e := os.Create(f.reportFile)
		if e != nil {
			return usage("--report-file: %w", e)
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		b.Report = file
	}
	return play.Bots(cmd.Context(), b)
}

// isTerminal reports whether somebody sits at the other end.
func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}
