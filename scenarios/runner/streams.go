package runner

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"p2pmodel/core/sansio"
	"p2pmodel/core/shard/engine/layout"
)

// streams are how the servers of a lab are reached over TLS. nil: they are not.
type streams struct {
	port   uint16
	config sansio.StreamConfig
}

// openStreams makes the certificate that the servers of this run show, and the
// authority that peers trust for it.
func (s *stage) openStreams() error {
	sc := s.v.scenario
	if sc.TLS == 0 {
		return nil
	}
	var names []string
	for _, host := range slices.Concat(sc.RelayHosts(), []string{sc.Rendezvous}) {
		addr, err := s.address(host)
		if err != nil {
			return err
		}
		names = append(names, addr.String())
	}
	now := s.net.Now()
	authority, err := layout.NewAuthority("lab", now)
	if err != nil {
		return fmt.Errorf("certificates of the servers: %w", err)
	}
	pair, err := authority.Issue("servers", names, layout.Usage{Server: true}, now)
	if err != nil {
		return fmt.Errorf("certificates of the servers: %w", err)
	}
	cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		return fmt.Errorf("certificates of the servers: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority.Cert) {
		return errors.New("certificates of the servers: the authority's is none")
	}
	s.streams = &streams{port: sc.TLS, config: sansio.StreamConfig{
		Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &cert, nil },
		Roots:       roots,
		// Many peers may stand behind one address.
		MaxPerAddress: sansio.DefaultMaxStreams,
	}}
	return nil
}

// at is where a server with an address is reached over TLS; the zero value: nowhere.
func (y *streams) at(addr netip.Addr) netip.AddrPort {
	if y == nil || !addr.IsValid() {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(addr, y.port)
}

// carry has a machine's driver use the certificate and trust the authority.
func (y *streams) carry(m sansio.Machine) sansio.Machine {
	if sm, can := m.(sansio.StreamMachine); y != nil && can {
		return sansio.Streams(sm, y.config)
	}
	return m
}

// heard is, by sender and receiver, how many of the datagrams that were sent since a
// count of them the receiver's application has heard. It is nothing where servers are
// reached by UDP only: there the wire alone tells.
func (s *stage) heard(since map[[2]string]uint64) map[[2]string]uint64 {
	if s.streams == nil {
		return nil
	}
	all := map[[2]string]uint64{}
	for way, sent := range since {
		from, to := s.actors[way[0]].id, s.actors[way[1]]
		to.machine.Do(func(time.Time) {
			if c := to.agent.links[from]; c != nil {
				for number := range c.heard {
					if number >= sent {
						all[way]++
					}
				}
			}
		})
	}
	return all
}

// heardEnough reports whether each side of all pairs has heard as much as a path is
// read from.
func (s *stage) heardEnough(since map[[2]string]uint64) bool {
	heard := s.heard(since)
	for way := range since {
		if s.streams != nil && heard[way] < window/2 {
			return false
		}
	}
	return true
}
