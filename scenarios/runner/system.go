package runner

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"p2pmodel/core/shard/engine/layout"
	"p2pmodel/core/shard/history"
	"p2pmodel/scenarios"
	"p2pmodel/sim"
)

// readyPatience is how long servers may take to be ready after their start.
const readyPatience = 20 * time.Second

// system is the shard structure on a stage: processes of p2pmodel on its hosts.
type system struct {
	*installation
	s            *stage
	spec         *scenarios.System
	servers      []*server // in the order of starting
	endpoints    []string  // of the Agents
	rendezvousAt map[netip.Addr]string
	load         *load
	// Once all have stopped: what they wrote of owners, and who had ended before.
	operations []history.Operation
	fell       error
}

// server is one process, or was one.
type server struct {
	name, host string
	shard      string // of which it is a part, if any
	args       []string
	// metrics is the port of its health on the host's loopback; 0: it has none.
	metrics int
	// says is what it prints when it is ready, where it has no health.
	says    string
	program sim.RunningProgram // nil: it does not run
	ended   chan struct{}      // closed when the program has
	output  *lines
}

// startSystem makes the system's files and starts its servers, but for those that
// come later.
func (s *stage) startSystem(ctx context.Context) error {
	spec := s.v.scenario.System
	if s.binary == "" {
		return errors.New("the scenario needs the program p2pmodel: make build makes it beside natlab, or say where it is (--p2pmodel FILE)")
	}
	files, err := install(spec, s.address)
	if err != nil {
		return err
	}
	y := &system{installation: files, s: s, spec: spec, rendezvousAt: map[netip.Addr]string{}}
	s.system = y
	for _, host := range spec.Agents {
		addr, err := s.address(host)
		if err != nil {
			return err
		}
		y.endpoints = append(y.endpoints, netip.AddrPortFrom(addr, agentPort).String())
	}
	if err := y.plan(s.address); err != nil {
		return err
	}
	later := map[string]bool{}
	for _, k := range spec.Shards {
		later[k.Name] = k.Later
	}
	return y.start(ctx, func(v *server) bool { return !later[v.shard] })
}

// plan lists the servers with their command lines.
func (y *system) plan(address func(host string) (netip.Addr, error)) error {
	for _, host := range y.spec.Engines {
		y.add(&server{name: host + "/engine", host: host, args: []string{"engine", "--nats-config-file", y.path("nodes", host, "nats.conf")}})
	}
	for i, host := range y.spec.Directories {
		args, err := y.credentials(y.spec, layout.DirectoryUser(i), address)
		if err != nil {
			return err
		}
		args = append([]string{"directory", "--index", fmt.Sprint(i), "--members", fmt.Sprint(len(y.spec.Directories)),
			"--replicas", fmt.Sprint(min(len(y.spec.Engines), 3)), "--history-file", y.historyOf(host)}, args...)
		y.add(&server{name: host + "/directory", host: host, args: args})
	}
	for _, k := range y.spec.Shards {
		if err := y.planShard(k, address); err != nil {
			return fmt.Errorf("shard %s: %w", k.Name, err)
		}
	}
	for _, host := range y.spec.Agents {
		args, err := y.credentials(y.spec, layout.AgentUser(host), address)
		if err != nil {
			return err
		}
		args = append([]string{"agent", "--name", host, "--listen", net.JoinHostPort("", fmt.Sprint(agentPort)), "--login-keys-file", y.path("login.pub"),
			"--tls-cert-file", y.path("agents", host, "tls.crt"), "--tls-key-file", y.path("agents", host, "tls.key")}, args...)
		y.add(&server{name: host + "/agent", host: host, args: args})
	}
	return nil
}

func (y *system) planShard(k scenarios.Shard, address func(host string) (netip.Addr, error)) error {
	rendezvous, err1 := address(k.Rendezvous)
	relay, err2 := address(k.Relay)
	args, err3 := y.credentials(y.spec, layout.ShardUser(k.Name), address)
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	y.rendezvousAt[rendezvous] = k.Name
	rendezvousAddr, relayAddr := netip.AddrPortFrom(rendezvous, stunPort).String(), netip.AddrPortFrom(relay, stunPort).String()
	y.add(&server{name: k.Name + "/rendezvous", host: k.Rendezvous, shard: k.Name, says: "listening on", args: []string{
		"rendezvous", "--listen", rendezvousAddr, "--key-file", y.path("shards", k.Name, "rendezvous.key"),
		"--ticket-keys", y.path("shards", k.Name, "ticket.pub"),
	}})
	y.add(&server{name: k.Name + "/relay", host: k.Relay, shard: k.Name, says: "listening on", args: []string{
		"relay", "--listen", relayAddr, "--relay-address", relay.String(), "--ports", fmt.Sprintf("%d-%d", relayPortLow, relayPortHigh),
		"--secret-file", y.path("shards", k.Name, "relay.secret"),
	}})
	y.add(&server{name: k.Name + "/shard", host: k.Host, shard: k.Name, args: append([]string{
		"shard", "--name", k.Name, "--history-file", y.historyOf(k.Name), "--ticket-key-file", y.path("shards", k.Name, "ticket.key"),
		"--rendezvous", rendezvousAddr, "--rendezvous-key", y.rendezvous[k.Name].String(),
		"--relay", relayAddr, "--relay-secret-file", y.path("shards", k.Name, "relay.secret"),
	}, args...)})
	return nil
}

// add appends a server; one without a word to say has health instead.
func (y *system) add(v *server) {
	if v.says == "" {
		v.metrics = metricsPortBase + len(y.servers)
		v.args = append(v.args, "--metrics-listen", net.JoinHostPort("127.0.0.1", fmt.Sprint(v.metrics)))
	}
	y.servers = append(y.servers, v)
}

// start starts those of the servers that do not run, all at once, and waits until
// they are ready.
func (y *system) start(ctx context.Context, which func(*server) bool) error {
	var begun []*server
	for _, v := range y.servers {
		if v.program != nil || !which(v) {
			continue
		}
		if err := y.launch(ctx, v); err != nil {
			return fmt.Errorf("start %s on host %s: %w", v.name, v.host, err)
		}
		begun = append(begun, v)
	}
	limit := y.s.net.Now().Add(readyPatience)
	for _, v := range begun {
		if err := y.await(ctx, v, limit); err != nil {
			return fmt.Errorf("%s on host %s: %w", v.name, v.host, err)
		}
	}
	return nil
}

func (y *system) launch(ctx context.Context, v *server) error {
	h, err := y.s.net.Host(v.host)
	if err != nil {
		return err
	}
	v.output = &lines{take: func(text string) { y.s.log.add(y.s.net.Now(), v.name, text) }}
	v.program, err = h.Start(context.WithoutCancel(ctx), sim.Program{
		Path: y.s.binary, Args: v.args, Dir: y.dir, Stdout: v.output, Stderr: v.output,
	})
	if err != nil {
		return err
	}
	v.ended = make(chan struct{})
	go func(p sim.RunningProgram, ended chan struct{}) {
		_ = p.Wait() // whoever finds it gone asks again
		close(ended)
	}(v.program, v.ended)
	return nil
}

// gone reports whether a server has ended by itself.
func (v *server) gone() bool {
	select {
	case <-v.ended:
		return true
	default:
		return false
	}
}

// await waits until a server is ready.
func (y *system) await(ctx context.Context, v *server, limit time.Time) error {
	last := errors.New("it has printed nothing yet")
	for {
		if v.metrics == 0 && v.output.has(v.says) {
			return nil
		}
		if v.metrics != 0 {
			if last = y.ready(ctx, v); last == nil {
				return nil
			}
		}
		if v.gone() {
			return fmt.Errorf("it ended at its start: %w; it said: %s", v.program.Wait(), v.output.tail())
		}
		if y.s.net.Now().After(limit) {
			return fmt.Errorf("not ready %v after its start: %w; it said: %s", readyPatience, last, v.output.tail())
		}
		if err := y.s.sleep(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// ready asks a server's health.
func (y *system) ready(ctx context.Context, v *server) error {
	h, err := y.s.net.Host(v.host)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return healthy(ctx, h, v.metrics)
}

// shardOf is the shard that has a room now: the one at whose rendezvous the players
// of the room are registered, by what they were told.
func (y *system) shardOf(room string) (string, error) {
	i := slices.IndexFunc(y.s.v.scenario.Rooms, func(r scenarios.Room) bool { return r.Name == room })
	var last string
	for _, name := range y.s.v.scenario.Rooms[i].Peers {
		shard := y.shardOfPlayer(y.s.actors[name])
		if shard == "" || last != "" && shard != last {
			return "", fmt.Errorf("it cannot be said which shard has room %s: %s says %q, others say %q", room, name, shard, last)
		}
		last = shard
	}
	return last, nil
}

func (y *system) shardOfPlayer(a *actor) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	at, err := netip.ParseAddrPort(a.session.at)
	if err != nil {
		return ""
	}
	return y.shardAt(at.Addr())
}

// serversOf are the servers that an action is about.
func (y *system) serversOf(a scenarios.Action) (list []*server) {
	for _, v := range y.servers {
		if a.Shard != "" && v.shard == a.Shard || a.Shard == "" && v.host == a.Target {
			list = append(list, v)
		}
	}
	return list
}

// kill ends servers by SIGKILL and says how many processes that were.
func (y *system) kill(a scenarios.Action) (string, error) {
	var names []string
	for _, v := range y.serversOf(a) {
		if v.program == nil {
			continue
		}
		if err := v.program.Kill(); err != nil {
			return "", fmt.Errorf("kill %s: %w", v.name, err)
		}
		names = append(names, v.name)
		v.program = nil
	}
	if len(names) == 0 {
		return "", errors.New("none of the servers to kill runs")
	}
	return "killed: " + strings.Join(names, ", "), nil
}

// fallen are servers that have ended although nobody killed them.
func (y *system) fallen() error {
	for _, v := range y.servers {
		if v.program != nil && v.gone() {
			return fmt.Errorf("%s on host %s ended by itself: %w; it said: %s", v.name, v.host, v.program.Wait(), v.output.tail())
		}
	}
	return nil
}

// stop ends all that runs, players first, and removes the files.
func (y *system) stop() error {
	y.fell = y.fallen()
	var errs []error
	if y.load != nil {
		errs = append(errs, y.load.stop())
	}
	for _, a := range y.s.actors {
		if a.session != nil && a.session.cancel != nil {
			errs = append(errs, a.leave())
		}
	}
	for _, v := range slices.Backward(y.servers) {
		if v.program != nil {
			errs = append(errs, v.program.Kill())
			v.program = nil
		}
	}
	var err error
	y.operations, err = y.histories()
	return errors.Join(append(errs, err, y.remove())...)
}
