package main

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/pion/turn/v5"
)

// client is two of pion's clients, which are each other's peers.
type client struct {
	server, local, transport string
	user, password           *string
	four, six, tcp           bool
	more                     int
	peer                     string
	messages, size           int
	patience                 time.Duration
}

// side is one of them.
type side struct {
	conn   net.PacketConn
	client *turn.Client
	relay  net.PacketConn
}

func (c *client) run() error {
	var sides [2]side
	for i := range sides {
		s := &sides[i]
		defer s.close()
		began := time.Now()
		if err := c.allocate(s); err != nil {
			return err
		}
		fmt.Printf("relayed %s after %d ms\n", s.relay.LocalAddr(), time.Since(began).Milliseconds())
	}
	if done, err := c.askMore(&sides[0]); done || err != nil {
		return err
	}
	// Whoever sends first asks for its permission: what the other one sends before is lost.
	for i, s := range sides {
		if err := s.client.CreatePermission(sides[1-i].relay.LocalAddr()); err != nil {
			return fmt.Errorf("permission: %w", err)
		}
	}
	for n := range c.messages {
		for i := range sides {
			if err := c.exchange(sides[i], sides[1-i], n); err != nil {
				return fmt.Errorf("datagram %d of side %d: %w", n, i, err)
			}
		}
	}
	fmt.Printf("%d datagrams each way, none lost\n", c.messages)
	return nil
}

// askMore asks for what is asked for beside data, and reports whether that was all.
func (c *client) askMore(s *side) (done bool, err error) {
	for range c.more {
		var third side
		defer third.close()
		if err := c.allocate(&third); err != nil {
			return true, err
		}
	}
	if c.peer != "" {
		peer, err := net.ResolveUDPAddr("udp", c.peer)
		if err == nil {
			err = s.client.CreatePermission(peer)
		}
		if err != nil {
			return true, fmt.Errorf("permission: %w", err)
		}
	}
	return c.more > 0 || c.peer != "", nil
}

func (c *client) allocate(s *side) (err error) {
	if s.conn, err = c.connect(); err != nil {
		return err
	}
	cfg := turn.ClientConfig{STUNServerAddr: c.server, TURNServerAddr: c.server, Conn: s.conn, Username: *c.user, Password: *c.password}
	switch {
	case c.four:
		cfg.RequestedAddressFamily = turn.RequestedAddressFamilyIPv4
	case c.six:
		cfg.RequestedAddressFamily = turn.RequestedAddressFamilyIPv6
	}
	if s.client, err = turn.NewClient(&cfg); err != nil {
		return err
	}
	if err = s.client.Listen(); err != nil {
		return err
	}
	if c.tcp {
		if _, err = s.client.AllocateTCP(); err != nil {
			return fmt.Errorf("allocate connections: %w", err)
		}
		return errors.New("relayed connections were given")
	}
	if s.relay, err = s.client.Allocate(); err != nil {
		return fmt.Errorf("allocate: %w", err)
	}
	return nil
}

func (c *client) connect() (net.PacketConn, error) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(c.local)}}
	switch c.transport {
	case "udp":
		network := "udp4" // pion asks for the family of its socket
		if net.ParseIP(c.local).To4() == nil {
			network = "udp6"
		}
		return net.ListenPacket(network, net.JoinHostPort(c.local, "0"))
	case "tcp":
		conn, err := dialer.Dial("tcp", c.server)
		if err != nil {
			return nil, err
		}
		return turn.NewSTUNConn(conn), nil
	case "tls":
		conn, err := tls.DialWithDialer(&dialer, "tcp", c.server, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			return nil, err
		}
		return turn.NewSTUNConn(conn), nil
	}
	return nil, fmt.Errorf("transport %q: say udp, tcp or tls", c.transport)
}

// exchange sends one datagram and waits for it.
func (c *client) exchange(from, to side, n int) error {
	payload := make([]byte, c.size)
	binary.BigEndian.PutUint32(payload, uint32(n))
	if _, err := from.relay.WriteTo(payload, to.relay.LocalAddr()); err != nil {
		return err
	}
	if err := to.relay.SetReadDeadline(time.Now().Add(c.patience)); err != nil {
		return err
	}
	got := make([]byte, 2*c.size)
	size, peer, err := to.relay.ReadFrom(got)
	if err != nil {
		return err
	}
	if peer.String() != from.relay.LocalAddr().String() || !bytes.Equal(got[:size], payload) {
		return fmt.Errorf("%d bytes came from %s, want %d from %s", size, peer, c.size, from.relay.LocalAddr())
	}
	return nil
}

func (s *side) close() {
	if s.relay != nil {
		_ = s.relay.Close() // gives the allocation back
	}
	if s.client != nil {
		s.client.Close()
	}
	if s.conn != nil {
		_ = s.conn.Close()
	}
}
