// Command pion-ice is an ICE agent made of github.com/pion/ice, as an example of a
// program that scenarios run in a peer's place: two of them find each other over a
// server for signalling, look for a path, and send each other datagrams.
//
//	pion-ice signal --listen :8080
//	pion-ice peer --signal http://198.18.0.4:8080
//
// A peer takes the rest from the environment that it has on a host of a lab: who it
// is and whom it calls, and where STUN and TURN are. It prints its events as
// docs/programs.md says, one JSON object a line.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "pion-ice:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("say signal or peer")
	}
	flags := flag.NewFlagSet("pion-ice "+args[0], flag.ContinueOnError)
	switch args[0] {
	case "signal":
		listen := flags.String("listen", ":8080", "address on which signalling is served")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return serve(ctx, *listen)
	case "peer":
		c := config{
			name: os.Getenv("LAB_NAME"), peer: os.Getenv("LAB_PEER"), dials: os.Getenv("LAB_DIALS") == "1",
			stun: os.Getenv("LAB_RENDEZVOUS"), turn: os.Getenv("LAB_RELAY"),
			user: os.Getenv("LAB_RELAY_USER"), password: os.Getenv("LAB_RELAY_PASSWORD"),
		}
		flags.StringVar(&c.signal, "signal", "", "URL of the server for signalling")
		flags.DurationVar(&c.interval, "interval", c.interval, "time between two datagrams (default 20ms)")
		flags.StringVar(&c.role, "role", "", "controlling or controlled (default: controlling if $LAB_DIALS is 1)")
		flags.BoolVar(&c.noTrickle, "no-trickle", false, "tell all candidates at once, when they are known")
		flags.BoolVar(&c.gathered, "gathered", false, "with --no-trickle: tell the credentials last, so that whoever has them has all")
		flags.DurationVar(&c.checks, "checks", 0, "time between two checks (default pion's own, 200ms)")
		flags.DurationVar(&c.acceptWait, "accept-wait", -1, "how long a direct pair is not taken although it works (default pion's own: 0, 500ms, 1s by kind)")
		flags.DurationVar(&c.relayWait, "relay-wait", relayWait, "the same of pairs over the relay; negative: pion's own, 2s")
		flags.BoolVar(&c.lite, "lite", false, "only answer checks (ICE-lite)")
		flags.BoolVar(&c.renomination, "renomination", false, "move to a better path later, where the other side announces that, too")
		hold := flags.Bool("hold-direct", false, "tell and hear of candidates that are not relayed on SIGUSR1 only")
		flags.DurationVar(&c.restartAfter, "restart-after", 0, "how long after the first path an ICE restart begins; 0: never")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		if *hold {
			c.direct = make(chan struct{})
			wanted := make(chan os.Signal, 1)
			signal.Notify(wanted, syscall.SIGUSR1)
			go func() { <-wanted; close(c.direct) }()
		}
		return c.run(ctx)
	}
	return fmt.Errorf("unknown command %q: say signal or peer", args[0])
}
