package peer

import (
	"fmt"
	"net/netip"

	"p2pmodel/core/sansio"
)

// Streams are where a server is reached by whoever's network lets no UDP out to it:
// over TLS, at port 443 as a rule, or over bare TCP. What is not valid there is not.
// UDP is asked at once and always; when it leaves a question unanswered for
// streamPatience, the streams are tried beside it, TLS first. What works first is
// used, and UDP from when on it works.
type Streams struct {
	TLS netip.AddrPort
	// ServerName is who the TLS server has to be by its certificate. Empty:
	// whoever may call itself by the address.
	ServerName string
	TCP        netip.AddrPort
}

// alternative is one of the streams.
type alternative struct {
	transport sansio.Transport
	addr      netip.AddrPort
	name      string
}

func (s Streams) alternatives() (list []alternative) {
	if s.TLS.IsValid() {
		list = append(list, alternative{sansio.TLS, s.TLS, s.ServerName})
	}
	if s.TCP.IsValid() {
		list = append(list, alternative{sansio.TCP, s.TCP, ""})
	}
	return list
}

func (s Streams) check() error {
	for _, a := range s.alternatives() {
		if a.addr.Port() == 0 {
			return fmt.Errorf("%w: %s address %s has no port", ErrConfig, a.transport, a.addr)
		}
	}
	if s.ServerName != "" && !s.TLS.IsValid() {
		return fmt.Errorf("%w: the name %q of a TLS server without its address", ErrConfig, s.ServerName)
	}
	return nil
}

func (s Streams) plain() Streams {
	s.TLS, s.TCP = unmap(s.TLS), unmap(s.TCP)
	return s
}
