package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"p2pmodel/nat/certify/classify"
)

func newClassifyCommand() *cobra.Command {
	var server string
	var lifetime time.Duration
	var asJSON, verbose bool
	cmd := &cobra.Command{
		Use:   "classify --server HOST[:PORT]",
		Short: "Tell how the NAT in front of this machine behaves",
		Long: `Tell how the NAT in front of this machine behaves, whoever made it, in the words
that certify takes. It needs no rights, but the help of a STUN server with two
addresses (RFC 5780), as p2pmodel rendezvous --alternate is one, and coturn. What
a server with one address cannot tell is said.

Exit status: 0 mapping and filtering were told; 1 they were not, by this server;
2 the server does not answer, or bad input.`,
		Example: `  natlab classify --server stun.example.org
  natlab classify --server 198.51.100.1:3478 --lifetime 10m --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if server == "" {
				return errors.New("--server names a STUN server of RFC 5780, as in --server stun.example.org:3478")
			}
			ctx := cmd.Context()
			cfg, err := classification(ctx, server)
			if err != nil {
				return err
			}
			cfg.Lifetime = lifetime
			result, err := classify.Run(ctx, cfg, func(ctx context.Context, local netip.AddrPort) (net.PacketConn, error) {
				return new(net.ListenConfig).ListenPacket(ctx, "udp4", local.String())
			})
			if err != nil {
				return err
			}
			return printClassified(cmd.OutOrStdout(), result, asJSON, verbose)
		},
	}
	cmd.Flags().StringVar(&server, "server", "", "the STUN server; its port is 3478 where none is named")
	cmd.Flags().DurationVar(&lifetime, "lifetime", 0, "also find out for how long an idle mapping lives, up to this time")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "print the evidence for each axis")
	return cmd
}

// classification finds the server's address, and ours towards it.
func classification(ctx context.Context, server string) (cfg classify.Config, err error) {
	host, port, err := net.SplitHostPort(server)
	if err != nil {
		host, port = server, fmt.Sprint(classify.DefaultPort)
	}
	number, err := net.DefaultResolver.LookupPort(ctx, "udp", port)
	if err != nil {
		return cfg, fmt.Errorf("--server %s: %w", server, err)
	}
	addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", host)
	if err != nil {
		return cfg, fmt.Errorf("--server %s: %w", server, err)
	}
	cfg.Server = netip.AddrPortFrom(addresses[0].Unmap(), uint16(number))
	// Connecting a UDP socket sends nothing, and tells the address that is sent from.
	conn, err := new(net.Dialer).DialContext(ctx, "udp4", cfg.Server.String())
	if err != nil {
		return cfg, fmt.Errorf("--server %s: there is no way to it: %w", server, err)
	}
	cfg.Local = conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
	cfg.Rand = rand.Reader
	return cfg, conn.Close()
}

// printClassified prints what was told, and what was not.
func printClassified(w io.Writer, r classify.Result, asJSON, verbose bool) error {
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		if err := e.Encode(r); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(w, "%s\n%s\n%s is seen as %s by %s\n", r.Classic, r.Behavior, r.Local, r.Reflexive, r.Server)
		for _, f := range r.Findings {
			if !verbose {
				break
			}
			fmt.Fprintf(w, "  %s: %s\n", f.Axis, f.Measured)
			for _, line := range f.Evidence {
				fmt.Fprintf(w, "    %s\n", line)
			}
		}
		if r.Meddling != "" {
			fmt.Fprintf(w, "  %s\n", r.Meddling)
		}
		for _, u := range r.Untold {
			fmt.Fprintf(w, "  %s is not known: %s\n", u.Axis, u.Why)
		}
	}
	if !r.Complete() {
		return errUnexpected
	}
	return nil
}
