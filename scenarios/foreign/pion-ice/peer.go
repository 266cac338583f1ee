package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/stun/v4"
)

// config is how a peer is set up.
type config struct {
	name, peer     string // who it is, and whom it looks for
	dials          bool   // it is the controlling side
	signal         string // URL
	stun, turn     string // IP:PORT
	user, password string // for TURN
	interval       time.Duration
	role           string // "": dials says it
	noTrickle      bool
	gathered       bool // credentials are told last
	lite           bool
	restartAfter   time.Duration
	renomination   bool
	// direct is closed when candidates that are not relayed may be told and heard of;
	// nil: at once.
	direct chan struct{}
	// checks is the time between two; acceptWait and relayWait are how long pairs
	// are not taken although they work. 0, and negative: pion's own.
	checks, acceptWait, relayWait time.Duration
}

// waits are what pion is not left to itself with.
func (c config) waits() (list []ice.AgentOption) {
	if c.checks > 0 {
		list = append(list, ice.WithCheckInterval(c.checks))
	}
	if c.acceptWait >= 0 {
		list = append(list, ice.WithHostAcceptanceMinWait(c.acceptWait), ice.WithSrflxAcceptanceMinWait(c.acceptWait), ice.WithPrflxAcceptanceMinWait(c.acceptWait))
	}
	if c.relayWait >= 0 {
		list = append(list, ice.WithRelayAcceptanceMinWait(c.relayWait))
	}
	return list
}

const (
	// relayWait is how long a path over the relay is not taken although there is
	// one: checks of better pairs have to be over by then.
	relayWait = time.Second
	// settleWait is how long the selected pair has to stay before the search counts
	// as over.
	settleWait = 300 * time.Millisecond
	size       = 64 // bytes of a datagram
)

// out writes events: lines that are not torn.
var out struct {
	sync.Mutex
	*json.Encoder
}

func event(kind, peer, path, text string) {
	out.Lock()
	defer out.Unlock()
	if out.Encoder == nil {
		out.Encoder = json.NewEncoder(os.Stdout)
	}
	_ = out.Encode(map[string]string{"event": kind, "peer": peer, "path": path, "text": text})
}

func (c config) run(ctx context.Context) error {
	if c.signal == "" || c.name == "" || c.peer == "" {
		return errors.New("--signal, $LAB_NAME and $LAB_PEER have to be given")
	}
	if c.interval <= 0 {
		c.interval = 20 * time.Millisecond
	}
	urls, err := c.servers()
	if err != nil {
		return err
	}
	if c.lite {
		urls = nil // a lite agent has host candidates only
	}
	options := []ice.AgentOption{
		ice.WithUrls(urls),
		ice.WithNetworkTypes([]ice.NetworkType{ice.NetworkTypeUDP4}),
		ice.WithMulticastDNSMode(ice.MulticastDNSModeDisabled),
	}
	options = append(options, c.waits()...)
	if c.renomination {
		options = append(options, ice.WithRenomination(ice.DefaultNominationValueGenerator()), ice.WithAutomaticRenomination(time.Second))
	}
	if c.lite {
		options = append(options, ice.WithICELite(true), ice.WithCandidateTypes([]ice.CandidateType{ice.CandidateTypeHost}))
	}
	agent, err := ice.NewAgentWithOptions(options...)
	if err != nil {
		return err
	}
	defer func() { _ = agent.Close() }()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	side := &side{config: c, agent: agent, credentials: make(chan message, 1), again: make(chan struct{}, 1)}
	err = errors.Join(
		agent.OnCandidate(func(k ice.Candidate) {
			if err := side.found(ctx, k); err != nil {
				cancel(err)
			}
		}),
		agent.OnConnectionStateChange(func(s ice.ConnectionState) {
			event("state", "", "", s.String())
			switch s {
			case ice.ConnectionStateConnected:
				side.reconnected()
			case ice.ConnectionStateDisconnected:
				event("lost", c.peer, "", s.String())
			case ice.ConnectionStateFailed:
				event("settled", c.peer, "none", s.String())
			}
		}),
	)
	if err != nil {
		return err
	}
	event("ready", "", "", "")
	go func() { cancel(listen(ctx, c.signal, c.name, func(m message) error { return side.hear(ctx, m) })) }()
	if err := side.introduce(ctx); err != nil {
		return err
	}
	event("registered", "", "", "signalling at "+c.signal)
	select {
	case m := <-side.credentials:
		return side.connect(ctx, m)
	case <-ctx.Done():
		return failure(ctx)
	}
}

// failure is why a context ended; a signal is no failure.
func failure(ctx context.Context) error {
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// servers are those of STUN and TURN.
func (c config) servers() (urls []*stun.URI, err error) {
	add := func(scheme stun.SchemeType, server string) error {
		host, text, err := net.SplitHostPort(server)
		if err != nil {
			return err
		}
		port, err := strconv.Atoi(text)
		urls = append(urls, &stun.URI{Scheme: scheme, Host: host, Port: port, Username: c.user, Password: c.password, Proto: stun.ProtoTypeUDP})
		return err
	}
	if c.stun != "" {
		err = add(stun.SchemeTypeSTUN, c.stun)
	}
	if c.turn != "" {
		err = errors.Join(err, add(stun.SchemeTypeTURN, c.turn))
	}
	return urls, err
}

// connect looks for a path and then sends datagrams until ctx ends.
func (s *side) connect(ctx context.Context, m message) error {
	c, agent := s.config, s.agent
	begin := agent.Accept
	if c.role == "controlling" || c.role == "" && c.dials {
		begin = agent.Dial
	}
	conn, err := begin(ctx, m.Ufrag, m.Password)
	if err != nil {
		if ctx.Err() != nil {
			return failure(ctx)
		}
		event("settled", c.peer, "none", err.Error())
		<-ctx.Done()
		return failure(ctx)
	}
	go func() { // what arrives is for the witness
		for b := make([]byte, 2*size); ; {
			if _, err := conn.Read(b); err != nil {
				return
			}
		}
	}()
	settled := time.After(settleWait)
	var restart <-chan time.Time
	if c.restartAfter > 0 {
		restart = time.After(c.restartAfter)
	}
	ticker := time.NewTicker(c.interval)
	defer ticker.Stop()
	say := func() {
		b := make([]byte, size)
		_, _ = rand.Read(b)
		_, _ = conn.Write(b) // while there is no path it fails, and there will be another
	}
	say()
	for {
		select {
		case <-ctx.Done():
			return failure(ctx)
		case <-settled:
			if pair, err := agent.GetSelectedCandidatePair(); err == nil && pair != nil {
				event("settled", c.peer, pair.Local.Type().String()+"/"+pair.Remote.Type().String(), pair.String())
			}
		case <-restart:
			if err := s.restart(ctx); err != nil {
				return err
			}
		case <-s.again:
			settled = time.After(settleWait)
		case <-ticker.C:
			say()
		}
	}
}
