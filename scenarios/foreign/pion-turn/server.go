package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"

	"github.com/pion/turn/v5"
)

// server is pion's, whose users have one password.
type server struct {
	listen, realm   string
	tcp, tls        string // where else it listens; empty: nowhere
	cert, key       string
	relay6, deny    string // an IP, a prefix; empty: none
	users, password *string
	quota           int
}

// twoFamilies relays from the address of the family that is asked for.
type twoFamilies struct {
	turn.RelayAddressGenerator // of IPv4
	six                        turn.RelayAddressGenerator
}

func (g twoFamilies) Validate() error {
	if err := g.six.Validate(); err != nil {
		return err
	}
	return g.RelayAddressGenerator.Validate()
}

func (g twoFamilies) AllocatePacketConn(conf turn.AllocateListenerConfig) (net.PacketConn, net.Addr, error) {
	if strings.HasSuffix(conf.Network, "6") {
		return g.six.AllocatePacketConn(conf)
	}
	return g.RelayAddressGenerator.AllocatePacketConn(conf)
}

// from says where it relays from.
func (s *server) from(four net.IP) turn.RelayAddressGenerator {
	static := func(ip net.IP) turn.RelayAddressGenerator {
		return &turn.RelayAddressGeneratorStatic{RelayAddress: ip, Address: ip.String()}
	}
	if s.relay6 == "" {
		return static(four)
	}
	return twoFamilies{static(four), static(net.ParseIP(s.relay6))}
}

// permits says to whom it relays.
func (s *server) permits() (turn.PermissionHandler, error) {
	if s.deny == "" {
		return turn.DefaultPermissionHandler, nil
	}
	denied, err := netip.ParsePrefix(s.deny)
	return func(_ net.Addr, peer net.IP) bool {
		a, ok := netip.AddrFromSlice(peer)
		return ok && !denied.Contains(a.Unmap())
	}, err
}

// listeners are those of TCP and TLS.
func (s *server) listeners(from turn.RelayAddressGenerator, permits turn.PermissionHandler) (list []turn.ListenerConfig, err error) {
	add := func(l net.Listener) {
		list = append(list, turn.ListenerConfig{Listener: l, RelayAddressGenerator: from, PermissionHandler: permits})
	}
	if s.tcp != "" {
		l, err := net.Listen("tcp", s.tcp)
		if err != nil {
			return nil, err
		}
		add(l)
	}
	if s.tls != "" {
		pair, err := tls.LoadX509KeyPair(s.cert, s.key)
		if err != nil {
			return nil, err
		}
		l, err := tls.Listen("tcp", s.tls, &tls.Config{Certificates: []tls.Certificate{pair}})
		if err != nil {
			return nil, err
		}
		add(l)
	}
	return list, nil
}

func (s *server) run(ctx context.Context) error {
	conn, err := net.ListenPacket("udp4", s.listen)
	if err != nil {
		return err
	}
	at := conn.LocalAddr().(*net.UDPAddr)
	from := s.from(at.IP)
	permits, err := s.permits()
	if err != nil {
		return err
	}
	streams, err := s.listeners(from, permits)
	if err != nil {
		return err
	}
	keys := map[string][]byte{}
	for _, user := range strings.Split(*s.users, ",") {
		keys[user] = turn.GenerateAuthKey(user, s.realm, *s.password)
	}
	var mu sync.Mutex
	held := map[string]int{}
	running, err := turn.NewServer(turn.ServerConfig{
		Realm: s.realm,
		AuthHandler: func(r *turn.RequestAttributes) (string, []byte, bool) {
			key, known := keys[r.Username]
			return r.Username, key, known
		},
		QuotaHandler: func(user, _ string, _ net.Addr) bool {
			mu.Lock()
			defer mu.Unlock()
			if s.quota > 0 && held[user] >= s.quota {
				return false
			}
			held[user]++
			return true
		},
		PacketConnConfigs: []turn.PacketConnConfig{{PacketConn: conn, RelayAddressGenerator: from, PermissionHandler: permits}},
		ListenerConfigs:   streams,
	})
	if err != nil {
		return err
	}
	fmt.Println("listening on", at)
	<-ctx.Done()
	return running.Close()
}
