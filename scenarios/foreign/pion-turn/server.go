package main

import (
	"context"
	"fmt"
	"net"
	"sync"

	"github.com/pion/turn/v5"
)

// server is pion's, with one user, and peers anywhere.
type server struct {
	listen, realm  string
	user, password *string
	quota          int
}

func (s *server) run(ctx context.Context) error {
	conn, err := net.ListenPacket("udp4", s.listen)
	if err != nil {
		return err
	}
	at := conn.LocalAddr().(*net.UDPAddr)
	var mu sync.Mutex
	held := map[string]int{}
	key := turn.GenerateAuthKey(*s.user, s.realm, *s.password)
	running, err := turn.NewServer(turn.ServerConfig{
		Realm: s.realm,
		AuthHandler: func(r *turn.RequestAttributes) (string, []byte, bool) {
			return r.Username, key, r.Username == *s.user
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
		PacketConnConfigs: []turn.PacketConnConfig{{
			PacketConn:            conn,
			RelayAddressGenerator: &turn.RelayAddressGeneratorStatic{RelayAddress: at.IP, Address: at.IP.String()},
			PermissionHandler:     func(net.Addr, net.IP) bool { return true },
		}},
	})
	if err != nil {
		return err
	}
	fmt.Println("listening on", at)
	<-ctx.Done()
	return running.Close()
}
