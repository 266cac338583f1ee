package main

import (
	"crypto/rand"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/spf13/cobra"

	"p2pmodel/core/rendezvous"
	"p2pmodel/core/shard/service"
	"p2pmodel/core/shard/udp"
	"p2pmodel/core/ticket"
)

func newRendezvousCommand() *cobra.Command {
	var listen, alternate, keyFile, ticketKeys string
	var server serverFlags
	var lifetime time.Duration
	var advance bool
	var streams streamFlags
	cmd := &cobra.Command{
		Use:   "rendezvous --listen IP:PORT",
		Short: "Run a rendezvous: STUN, NAT behaviour discovery, registration, introduction",
		Long: `Run a rendezvous: a STUN server that also registers peers and introduces them to
each other. With --alternate it opens both addresses with both ports, which NAT
behaviour discovery (RFC 5780) needs; STUN clients of others need --advance as
well, since their requests are shorter than the answers. With --tcp and --tls
peers register over TCP and TLS as well, from networks that let out nothing else.

With --ticket-keys only peers register that have a ticket signed by one of the
keys, for as long as it is good, and each meets only those of its ticket's mesh.
The file has a public key of Ed25519 a line, in base64 or hexadecimal digits; it is
read again when it changes, and on SIGHUP, which ends the registrations by keys that
are gone.

Once ready it prints one line:
  rendezvous listening on IP:PORT [alternate IP:PORT] [tcp IP:PORT] [tls IP:PORT] key KEY
KEY is its public key, for peers that want to be sure whom they talk to.`,
		Example: "  p2pmodel rendezvous --listen 198.51.100.1:3478 --alternate 198.51.100.2:3479 --key-file rendezvous.key",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg := rendezvous.ServerConfig{Rand: rand.Reader, Lifetime: lifetime, Advance: advance}
			var err error
			if cfg.Listen, err = addressFlag("listen", listen); err != nil {
				return err
			}
			if alternate != "" {
				if cfg.Alternate, err = addressFlag("alternate", alternate); err != nil {
					return err
				}
			}
			if cfg.TCP, cfg.TLS, err = streams.addresses(); err != nil {
				return err
			}
			if lifetime < time.Second {
				return usage("--lifetime %v: at least 1s", lifetime)
			}
			if cfg.Key, err = loadKey(keyFile); err != nil {
				return err
			}
			if ticketKeys != "" {
				if cfg.Admission, err = readTicketKeys(ticketKeys); err != nil {
					return err
				}
			}
			sv, err := server.service(cmd)
			if err != nil {
				return err
			}
			if err := buildRendezvous(cmd, sv, cfg, ticketKeys, &streams); err != nil || server.checkOnly {
				return err
			}
			return sv.Run(cmd.Context())
		},
	}
	f := cmd.Flags()
	server.add(f)
	f.StringVar(&listen, "listen", "", "`IP:PORT` to listen on (required)")
	f.StringVar(&alternate, "alternate", "", "`IP:PORT` for NAT behaviour discovery; both differ from --listen's")
	f.StringVar(&keyFile, "key-file", "", "`FILE` with the private key; made if missing (default: a new key each time)")
	f.StringVar(&ticketKeys, "ticket-keys", "", "`FILE` of the public keys that sign tickets (default: anybody may register)")
	streams.add(f)
	f.BoolVar(&advance, "advance", false, "answer STUN requests that are shorter than the answer at once and in full, within bounds; behaviour discovery by clients of others needs it, ours do not")
	f.DurationVar(&lifetime, "lifetime", rendezvous.DefaultLifetime, "how long a registration lives without refresh")
	return cmd
}

// readTicketKeys reads a file of public keys.
func readTicketKeys(file string) (*ticket.Verifier, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, usage("--ticket-keys: %w", err)
	}
	keys, err := ticket.ReadVerifierKeys(text)
	if err != nil {
		return nil, usage("--ticket-keys %s: %w", file, err)
	}
	return keys, nil
}

// buildRendezvous makes the rendezvous, and has it be a server of the process.
func buildRendezvous(cmd *cobra.Command, sv *service.Service, cfg rendezvous.ServerConfig, ticketKeys string, streams *streamFlags) error {
	var r *udp.Rendezvous
	listening := func(e rendezvous.Listening) {
		line := fmt.Sprintf("rendezvous listening on %v", e.Listen)
		if e.Alternate.IsValid() {
			line += fmt.Sprintf(" alternate %v", e.Alternate)
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s%s key %v\n", line, ways(e.TCP, e.TLS), r.Server().ID())
	}
	r, err := udp.NewRendezvous(udp.RendezvousConfig{Server: cfg, Listening: listening, Streams: streams.config(), Log: sv.Log()})
	if err != nil {
		return usage("%w", err)
	}
	sv.Add(service.Server{Name: "rendezvous", Run: r.Run, Ready: r.Ready})
	streams.watch(sv)
	if ticketKeys != "" {
		sv.Watch("ticket-keys", func() error {
			keys, err := readTicketKeys(ticketKeys)
			if err != nil {
				return err
			}
			return r.SetAdmission(keys)
		}, ticketKeys)
	}
	return nil
}

// addressFlag reads an IP:PORT.
func addressFlag(name, value string) (netip.AddrPort, error) {
	if value == "" {
		return netip.AddrPort{}, usage("--%s IP:PORT is required", name)
	}
	a, err := netip.ParseAddrPort(value)
	if err != nil {
		return netip.AddrPort{}, usage("--%s %q is not IP:PORT, as in 198.51.100.1:3478 or [2001:db8::1]:3478", name, value)
	}
	return a, nil
}
