package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"

	"github.com/spf13/pflag"

	"p2pmodel/core/peer"
	"p2pmodel/core/sansio"
	"p2pmodel/core/shard/service"
)

// streamFlags are what servers are told about those who come without UDP.
type streamFlags struct {
	tcp, tls, cert, key string
	present             atomic.Pointer[tls.Certificate]
}

func (f *streamFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.tcp, "tcp", "", "`IP:PORT` for those who come over TCP (default: nowhere)")
	flags.StringVar(&f.tls, "tls", "", "`IP:PORT` for those who come over TLS, best port 443; needs --cert and --key (default: nowhere)")
	flags.StringVar(&f.cert, "cert", "", "`file` with the TLS certificate and its chain, PEM; read again when it changes")
	flags.StringVar(&f.key, "key", "", "`file` with its private key, PEM")
}

// addresses are where to listen; the certificate has been read then.
func (f *streamFlags) addresses() (tcp, secure netip.AddrPort, err error) {
	if f.tcp != "" {
		if tcp, err = addressFlag("tcp", f.tcp); err != nil {
			return tcp, secure, err
		}
	}
	switch {
	case f.tls == "" && (f.cert != "" || f.key != ""):
		return tcp, secure, usage("--cert and --key are for --tls IP:PORT, which is not given")
	case f.tls == "":
		return tcp, secure, nil
	case f.cert == "" || f.key == "":
		return tcp, secure, usage("--tls needs --cert FILE and --key FILE")
	}
	if secure, err = addressFlag("tls", f.tls); err != nil {
		return tcp, secure, err
	}
	if err := f.load(); err != nil {
		return tcp, secure, usage("%w", err)
	}
	return tcp, secure, nil
}

// load reads the certificate, and changes nothing if that fails.
func (f *streamFlags) load() error {
	if f.cert == "" {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return fmt.Errorf("--cert %s, --key %s: %w", f.cert, f.key, err)
	}
	f.present.Store(&pair)
	return nil
}

// config is how streams are carried.
func (f *streamFlags) config() sansio.StreamConfig {
	return sansio.StreamConfig{
		Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return f.present.Load(), nil },
	}
}

// watch has the certificate read anew when it changes.
func (f *streamFlags) watch(sv *service.Service) {
	if f.cert != "" {
		sv.Watch("certificate", f.load, f.cert, f.key)
	}
}

// ways says where else than over UDP a server listens, for the line that it prints.
func ways(tcp, secure netip.AddrPort) (text string) {
	if tcp.IsValid() {
		text += fmt.Sprintf(" tcp %v", tcp)
	}
	if secure.IsValid() {
		text += fmt.Sprintf(" tls %v", secure)
	}
	return text
}

// wayFlags are what a peer is told about its servers without UDP.
type wayFlags struct {
	rendezvousTCP, rendezvousTLS, caFile string
	relayTCP, relayTLS                   []string
}

func (f *wayFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.rendezvousTLS, "rendezvous-tls", "", "`IP:PORT[/NAME]` of the rendezvous over TLS, where UDP gets no answer; NAME is who its certificate has to name")
	flags.StringVar(&f.rendezvousTCP, "rendezvous-tcp", "", "`IP:PORT` of the rendezvous over TCP, likewise")
	flags.StringArrayVar(&f.relayTLS, "relay-tls", nil, "`IP:PORT[/NAME]` of the relay over TLS, where UDP gets no answer; of several relays in their order")
	flags.StringArrayVar(&f.relayTCP, "relay-tcp", nil, "`IP:PORT` of the relay over TCP, likewise")
	flags.StringVar(&f.caFile, "ca-file", "", "`file` with the certificates that TLS servers are trusted by, PEM (default: those of the system)")
}

// roots are whom TLS servers are trusted by; nil: whom the system trusts.
func (f *wayFlags) roots() (*x509.CertPool, error) {
	if f.caFile == "" {
		return nil, nil
	}
	text, err := os.ReadFile(f.caFile)
	if err != nil {
		return nil, usage("--ca-file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, usage("--ca-file %s: there is no certificate in it, in PEM", f.caFile)
	}
	return pool, nil
}

// complete adds the ways to servers.
func (f *wayFlags) complete(s *peer.Servers) (err error) {
	if s.RendezvousStreams, err = streamsOf("rendezvous", f.rendezvousTCP, f.rendezvousTLS); err != nil {
		return err
	}
	if max(len(f.relayTCP), len(f.relayTLS)) > len(s.Relays) {
		return usage("--relay-tcp and --relay-tls are about relays, in their order: give --relay IP:PORT for each")
	}
	nth := func(list []string, i int) string {
		if i < len(list) {
			return list[i]
		}
		return ""
	}
	for i := range s.Relays {
		if s.Relays[i].Streams, err = streamsOf("relay", nth(f.relayTCP, i), nth(f.relayTLS, i)); err != nil {
			return err
		}
	}
	return nil
}

func streamsOf(server, tcp, secure string) (s peer.Streams, err error) {
	if tcp != "" {
		if s.TCP, err = addressFlag(server+"-tcp", tcp); err != nil {
			return s, err
		}
	}
	if secure != "" {
		addr, name, _ := strings.Cut(secure, "/")
		s.ServerName = name
		s.TLS, err = addressFlag(server+"-tls", addr)
	}
	return s, err
}
