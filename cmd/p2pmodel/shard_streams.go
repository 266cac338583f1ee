package main

import (
	"fmt"
	"net/netip"

	"github.com/spf13/pflag"

	"p2pmodel/core/peer"
	"p2pmodel/core/sansio"
	"p2pmodel/core/shard/service"
	"p2pmodel/core/shard/unit"
)

// certificateFlags name the certificate of TLS servers.
type certificateFlags struct{ cert, key string }

func (f *certificateFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.cert, "cert", "", "`file` with the TLS certificate and its chain, PEM; read again when it changes")
	flags.StringVar(&f.key, "key", "", "`file` with its private key, PEM")
}

// applyStreams reads where a shard's UDP servers are reached without UDP.
func (f *udpFlags) applyStreams(cfg *unit.Config, public netip.Addr, s *service.Service) (err error) {
	if cfg.Rendezvous.Streams, err = streamsOf("rendezvous", f.rendezvousTCP, f.rendezvousTLS); err != nil {
		return err
	}
	if cfg.Relay.Streams, err = streamsOf("relay", f.relayTCP, f.relayTLS); err != nil {
		return err
	}
	if !cfg.Relay.Addr.IsValid() && cfg.Relay.Streams != (peer.Streams{}) {
		return usage("--relay-tcp and --relay-tls are about a relay: give --relay-listen IP:PORT, or --relay IP:PORT for one elsewhere")
	}
	secure := false
	listen := func(flag string, told *peer.Streams) (at peer.Streams, err error) {
		at = *told
		if told.TCP, err = toldStream(flag+"-tcp", at.TCP, public); err != nil {
			return at, err
		}
		told.TLS, err = toldStream(flag+"-tls", at.TLS, public)
		secure = secure || at.TLS.IsValid()
		return at, err
	}
	if server := cfg.RendezvousServer; server != nil {
		at, err := listen("rendezvous", &cfg.Rendezvous.Streams)
		if err != nil {
			return err
		}
		server.TCP, server.TLS = at.TCP, at.TLS
	}
	if server := cfg.RelayServer; server != nil {
		at, err := listen("relay", &cfg.Relay.Streams)
		if err != nil {
			return err
		}
		server.TCP, server.TLS = at.TCP, at.TLS
	}
	switch {
	case !secure && (f.secure.cert != "" || f.secure.key != ""):
		return usage("--cert and --key are for --rendezvous-tls and --relay-tls of servers in this process, which are not given")
	case secure && (f.secure.cert == "" || f.secure.key == ""):
		return usage("--rendezvous-tls and --relay-tls of servers in this process need --cert FILE and --key FILE")
	case secure:
		certificate, err := service.LoadCertificate(f.secure.cert, f.secure.key)
		if err != nil {
			return usage("--cert: %w", err)
		}
		s.Watch("certificate", certificate.Load, certificate.Files()...)
		cfg.Carry = sansio.StreamConfig{Certificate: certificate.Get}
	}
	return nil
}

// toldStream is toldFlag for an address that has been read.
func toldStream(flag string, listen netip.AddrPort, public netip.Addr) (netip.AddrPort, error) {
	if !listen.IsValid() {
		return listen, nil
	}
	_, told, err := toldFlag(flag, listen.String(), public)
	return told, err
}

// allStreams are where the UDP servers of p2pmodel all are reached without UDP: of each
// shard one address, in their order.
type allStreams struct{ rendezvousTCP, rendezvousTLS, relayTCP, relayTLS []string }

func (f *allStreams) add(flags *pflag.FlagSet) {
	flags.StringSliceVar(&f.rendezvousTCP, "rendezvous-tcp", nil, "`IP:PORT` at which players reach the rendezvous over TCP where their network lets no UDP out; of several shards in their order (default: nowhere)")
	flags.StringSliceVar(&f.rendezvousTLS, "rendezvous-tls", nil, "`IP:PORT` of the same over TLS, best port 443, by the Agent's certificate")
	flags.StringSliceVar(&f.relayTCP, "relay-tcp", nil, "`IP:PORT` at which players reach the relay over TCP, likewise")
	flags.StringSliceVar(&f.relayTLS, "relay-tls", nil, "`IP:PORT` at which they reach it over TLS, likewise")
}

// read gives the addresses of the shards, and all of those of TLS.
func (f *allStreams) read(shards int) (rendezvous, relay []peer.Streams, err error) {
	rendezvous, relay = make([]peer.Streams, shards), make([]peer.Streams, shards)
	for _, list := range []struct {
		flag  string
		given []string
		set   func(n int, at netip.AddrPort)
	}{
		{"rendezvous-tcp", f.rendezvousTCP, func(n int, at netip.AddrPort) { rendezvous[n].TCP = at }},
		{"rendezvous-tls", f.rendezvousTLS, func(n int, at netip.AddrPort) { rendezvous[n].TLS = at }},
		{"relay-tcp", f.relayTCP, func(n int, at netip.AddrPort) { relay[n].TCP = at }},
		{"relay-tls", f.relayTLS, func(n int, at netip.AddrPort) { relay[n].TLS = at }},
	} {
		if len(list.given) > shards {
			return nil, nil, usage("--%s names %d addresses for %d shards", list.flag, len(list.given), shards)
		}
		for n, text := range list.given {
			at, err := addressFlag(list.flag, text)
			if err != nil {
				return nil, nil, err
			}
			if at.Addr().IsUnspecified() || at.Port() == 0 {
				return nil, nil, usage("--%s %s: players are told this address, so it has to be one that they reach", list.flag, text)
			}
			list.set(n, at)
		}
	}
	return rendezvous, relay, nil
}

// nameOf says whom the certificate has to name where a server is reached over TLS: the
// address if it names that, else the first name in it.
func nameOf(s *peer.Streams, c *service.Certificate) error {
	leaf := c.Leaf()
	if !s.TLS.IsValid() || leaf.VerifyHostname(s.TLS.Addr().String()) == nil {
		return nil
	}
	for _, n := range leaf.DNSNames {
		if leaf.VerifyHostname(n) == nil { // no wildcard
			s.ServerName = n
			return nil
		}
	}
	return fmt.Errorf("the certificate names neither %s nor any host, so that players cannot tell the server at %s by it", s.TLS.Addr(), s.TLS)
}
