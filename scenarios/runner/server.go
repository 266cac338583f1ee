package runner

import (
	"net/netip"

	"p2pmodel/core/relay"
	"p2pmodel/core/rendezvous"
	"p2pmodel/core/sansio"
)

// rendezvousServer is the rendezvous of the lab. With a second address on its
// host it also answers behaviour discovery (RFC 5780).
func (s *stage) rendezvousServer() (sansio.Machine, error) {
	cfg := rendezvous.ServerConfig{
		Listen: s.rendezvousAddr,
		Key:    s.serverKey,
		Rand:   s.sourceOf("rendezvous"),
		// All peers of a lab are ours, and many may stand behind one address.
		Limits: rendezvous.Limits{Rate: 10_000, Burst: 10_000},
	}
	cfg.TLS = s.streams.at(s.rendezvousAddr.Addr())
	if second, err := s.addr(s.v.scenario.Rendezvous, 1); err == nil {
		cfg.Alternate = netip.AddrPortFrom(second, alternatePort)
	}
	return rendezvous.NewServer(cfg)
}

// relayServer is a relay of the lab.
func (s *stage) relayServer(name string) (sansio.Machine, error) {
	addr, err := s.addr(s.v.scenario.RelayHost(name), 0)
	if err != nil {
		return nil, err
	}
	return relay.NewServer(relay.ServerConfig{
		Listen:         netip.AddrPortFrom(addr, stunPort),
		TLS:            s.streams.at(addr),
		RelayAddress:   addr,
		PortLow:        relayPortLow,
		PortHigh:       relayPortHigh,
		Realm:          relayRealm,
		Authenticators: []relay.Authenticator{relay.Users{relayUser: relayPassword}},
		// Every peer uses the same account.
		MaxAllocationsPerUser: 1000,
		Rand:                  s.sourceOf(name),
	})
}
