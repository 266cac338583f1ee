package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"p2pmodel/core/rendezvous"
	"p2pmodel/core/sansio"
)

func newRendezvousCommand() *cobra.Command {
	var listen, alternate, keyFile string
	var lifetime time.Duration
	cmd := &cobra.Command{
		Use:   "rendezvous --listen IP:PORT",
		Short: "Run a rendezvous: STUN, NAT behaviour discovery, registration, introduction",
		Long: `Run a rendezvous: a STUN server that also registers peers and introduces them to
each other. With --alternate it opens both addresses with both ports, which NAT
behaviour discovery (RFC 5780) needs.

Once ready it prints one line:
  rendezvous listening on IP:PORT alternate IP:PORT key KEY
KEY is its public key, for peers that want to be sure whom they talk to.`,
		Example: "  p2pmodel rendezvous --listen 198.51.100.1:3478 --alternate 198.51.100.2:3479 --key-file rendezvous.key",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg := rendezvous.ServerConfig{Rand: rand.Reader, Lifetime: lifetime}
			var err error
			if cfg.Listen, err = addressFlag("listen", listen); err != nil {
				return err
			}
			if alternate != "" {
				if cfg.Alternate, err = addressFlag("alternate", alternate); err != nil {
					return err
				}
			}
			if lifetime < time.Second {
				return usage("--lifetime %v: at least 1s", lifetime)
			}
			if cfg.Key, err = loadKey(keyFile); err != nil {
				return err
			}
			return runRendezvous(cmd, cfg)
		},
	}
	f := cmd.Flags()
	f.StringVar(&listen, "listen", "", "`IP:PORT` to listen on (required)")
	f.StringVar(&alternate, "alternate", "", "`IP:PORT` for NAT behaviour discovery; both differ from --listen's")
	f.StringVar(&keyFile, "key-file", "", "`FILE` with the private key; made if missing (default: a new key each time)")
	f.DurationVar(&lifetime, "lifetime", rendezvous.DefaultLifetime, "how long a registration lives without refresh")
	return cmd
}

func runRendezvous(cmd *cobra.Command, cfg rendezvous.ServerConfig) error {
	server, err := rendezvous.NewServer(cfg)
	if err != nil {
		return usage("%w", err)
	}
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	var failed error
	loop := sansio.NewLoop(server, sansio.System(), func(_ time.Time, e sansio.Event) {
		switch e := e.(type) {
		case rendezvous.Listening:
			line := fmt.Sprintf("rendezvous listening on %v", e.Listen)
			if e.Alternate.IsValid() {
				line += fmt.Sprintf(" alternate %v", e.Alternate)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s key %v\n", line, server.ID())
		case rendezvous.ListenFailed:
			failed = e.Err
			cancel()
		}
	})
	if err := loop.Run(ctx); err != nil {
		return err
	}
	return failed
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
