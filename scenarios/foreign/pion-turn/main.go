// Command pion-turn is a client and a server of TURN made of github.com/pion/turn,
// to hold ours against.
//
//	pion-turn server --listen 127.0.0.1:3478 --user alice --password secret
//	pion-turn client --server 127.0.0.1:3478 --user alice --password secret
//
// The client makes two allocations, has each send to the other one's relayed address,
// and ends with code 0 if everything arrived.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "pion-turn:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("say server or client")
	}
	flags := flag.NewFlagSet("pion-turn "+args[0], flag.ContinueOnError)
	user := flags.String("user", "", "user name; of a server several, with commas between")
	password := flags.String("password", "", "password of the user, or of all")
	switch args[0] {
	case "server":
		s := server{users: user, password: password}
		flags.StringVar(&s.listen, "listen", "127.0.0.1:3478", "IPv4 address and port; relayed addresses have the same IP")
		flags.StringVar(&s.tcp, "tcp", "", "address and port for clients over TCP")
		flags.StringVar(&s.tls, "tls", "", "address and port for clients over TLS")
		flags.StringVar(&s.cert, "cert", "", "certificate for TLS, a file in PEM")
		flags.StringVar(&s.key, "key", "", "its key")
		flags.StringVar(&s.relay6, "relay6", "", "IP of relayed IPv6 addresses")
		flags.StringVar(&s.deny, "deny", "", "prefix of peers that are refused")
		flags.StringVar(&s.realm, "realm", "pion.ly", "realm of the credentials")
		flags.IntVar(&s.quota, "quota", 0, "allocations of one user; 0: no bound")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return s.run(ctx)
	case "client":
		c := client{user: user, password: password}
		flags.StringVar(&c.server, "server", "", "address and port of the relay")
		flags.StringVar(&c.local, "local", "0.0.0.0", "IP of this host to send from")
		flags.StringVar(&c.transport, "transport", "udp", "udp, tcp or tls; certificates are not verified")
		flags.BoolVar(&c.six, "relay6", false, "ask for IPv6 relayed addresses")
		flags.BoolVar(&c.four, "relay4", false, "ask for IPv4 relayed addresses")
		flags.BoolVar(&c.tcp, "relay-tcp", false, "ask for relayed connections (RFC 6062) instead, and no more")
		flags.IntVar(&c.more, "more", 0, "further allocations to make, and no more")
		flags.StringVar(&c.peer, "peer", "", "IP and port of a peer to ask permission for, and no more")
		flags.IntVar(&c.messages, "messages", 50, "datagrams in each direction")
		flags.IntVar(&c.size, "size", 170, "bytes of a datagram, at least 4")
		flags.DurationVar(&c.patience, "patience", 10*time.Second, "wait for one datagram")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return c.run()
	}
	return fmt.Errorf("unknown command %q: say server or client", args[0])
}
