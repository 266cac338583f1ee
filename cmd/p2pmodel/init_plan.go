package main

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"p2pmodel/core/relay"
	"p2pmodel/core/shard/engine/layout"
)

// Ports of a layout. Several processes of a kind on one host get those that
// follow.
const (
	enginePort     = 4222
	clusterPort    = 6222
	rendezvousPort = 3478
	relayPort      = 3479
)

// metricsPorts are of metrics and health, by command: those of processes that are
// there stay when others are added.
var metricsPorts = map[string]int{"engine": 9100, "directory": 9110, "shard": 9120, "agent": 9180}

// initPlan says where each process of a layout is.
type initPlan struct {
	flags          *initFlags
	install        string
	hosts          map[string][]string // of --host
	used           map[string]bool     // those that were looked up
	taken          map[string]bool     // HOST:PORT, with the protocol
	shards, agents []string

	layout  layout.Layout
	order   []string            // of processes
	at      map[string][]string // process → its address and further names
	metrics map[string]string   // process → listen
	engines []string            // URLs
	agentAt map[string]string   // agent → listen
	udp     map[string]*udpPlan // shard → its UDP servers
}

// udpPlan is where a shard's UDP servers are.
type udpPlan struct {
	rendezvous, relay netip.AddrPort
	low, high         int
	// Processes of their own.
	ownRendezvous, ownRelay bool
}

func (p *initPlan) processes() []string { return p.order }

// host is where a process is: its address, and further names.
func (p *initPlan) host(process string) []string {
	p.used[process] = true
	if h := p.hosts[process]; len(h) > 0 {
		return h
	}
	return []string{"127.0.0.1"}
}

// add adds a process to the plan.
func (p *initPlan) add(process string) []string {
	h := p.host(process)
	p.order = append(p.order, process)
	p.at[process] = h
	command, _, _ := strings.Cut(process, "-")
	if base, ok := metricsPorts[command]; ok {
		host := "127.0.0.1"
		if isLoopback(h[0]) {
			host = h[0]
		}
		p.metrics[process] = net.JoinHostPort(host, strconv.Itoa(p.port("tcp", h[0], base)))
	}
	return h
}

// port gives the first port from a base on that is free at a host.
func (p *initPlan) port(what, host string, base int) int {
	protocol := "tcp"
	if what == "udp" {
		protocol = "udp"
	}
	for port := base; ; port++ {
		key := protocol + " " + net.JoinHostPort(host, strconv.Itoa(port))
		if !p.taken[key] {
			p.taken[key] = true
			return port
		}
	}
}

// listen is a HOST:PORT to listen on: the address, or all if only a name is known.
func listen(host string, port int) string {
	if _, err := netip.ParseAddr(host); err != nil && host != "localhost" {
		host = "0.0.0.0"
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}

func (p *initPlan) place() error {
	f := p.flags
	p.at, p.metrics, p.agentAt, p.udp = map[string][]string{}, map[string]string{}, map[string]string{}, map[string]*udpPlan{}
	p.layout = layout.Layout{Cluster: f.cluster, Directories: f.directories, Shards: p.shards, Agents: p.agents, Operators: f.operators}
	if f.engines < 1 {
		return usage("--engines %d: 1, 3 or 5", f.engines)
	}
	for i := range f.engines {
		p.placeEngine("engine-"+strconv.Itoa(i+1), f.engines > 1)
	}
	for n := range f.directories {
		p.add(layout.DirectoryUser(n))
	}
	for _, name := range p.shards {
		if err := p.placeShard(name); err != nil {
			return err
		}
	}
	for _, name := range p.agents {
		h := p.add(layout.AgentUser(name))
		p.agentAt[name] = listen(h[0], p.port("tcp", h[0], f.agentPort))
	}
	for _, name := range f.operators {
		p.add(layout.OperatorUser(name))
	}
	if err := p.layout.Check(); err != nil {
		return usage("%w", err)
	}
	return nil
}

func (p *initPlan) placeEngine(process string, clustered bool) {
	h := p.add(process)
	port := p.port("tcp", h[0], enginePort)
	n := layout.Node{
		Name: process, Names: h, Listen: listen(h[0], port),
		Dir: filepath.Join(p.install, process), Store: filepath.Join(p.install, process, "store"),
	}
	if p.flags.storeDir != "" {
		n.Store = filepath.Join(p.flags.storeDir, process)
	}
	if clustered {
		n.Cluster = listen(h[0], p.port("tcp", h[0], clusterPort))
	}
	p.layout.Nodes = append(p.layout.Nodes, n)
	p.engines = append(p.engines, "tls://"+net.JoinHostPort(h[0], strconv.Itoa(port)))
}

// placeShard places a shard and its UDP servers, in its own process or in others.
func (p *initPlan) placeShard(name string) error {
	own := p.add(layout.ShardUser(name))
	u := &udpPlan{low: relay.DefaultPortLow, high: relay.DefaultPortHigh}
	p.udp[name] = u
	where := func(process string) (netip.Addr, bool, error) {
		h, separate := own, len(p.hosts[process]) > 0
		if separate {
			h = p.add(process)
		}
		addr, err := netip.ParseAddr(h[0])
		if err != nil {
			if !separate {
				process = layout.ShardUser(name)
			}
			return addr, separate, usage("--host %s=%s: players are told the address of the UDP servers, so it has to be an IP address", process, h[0])
		}
		return addr, separate, nil
	}
	addr, separate, err := where("rendezvous-" + name)
	if err != nil {
		return err
	}
	u.ownRendezvous = separate
	u.rendezvous = netip.AddrPortFrom(addr, uint16(p.port("udp", addr.String(), rendezvousPort)))
	if addr, u.ownRelay, err = where("relay-" + name); err != nil {
		return err
	}
	u.relay = netip.AddrPortFrom(addr, uint16(p.port("udp", addr.String(), relayPort)))
	return nil
}

// shareRelayPorts gives relays on one address each a part of the ports.
func (p *initPlan) shareRelayPorts() error {
	by := map[netip.Addr][]*udpPlan{}
	for _, name := range p.shards {
		u := p.udp[name]
		by[u.relay.Addr()] = append(by[u.relay.Addr()], u)
	}
	for addr, all := range by {
		share := (relay.DefaultPortHigh - relay.DefaultPortLow + 1) / len(all)
		if share < 16 {
			return usage("%d relays on %v: that many have no ports to relay from", len(all), addr)
		}
		for i, u := range all {
			u.low = relay.DefaultPortLow + i*share
			u.high = u.low + share - 1
		}
	}
	return nil
}

// allowed are the peers that a relay may have although they are not public.
func (p *initPlan) allowed(u *udpPlan) []string {
	if len(p.flags.allowPeers) == 0 && u.relay.Addr().IsLoopback() {
		return []string{"127.0.0.0/8"}
	}
	return slices.Clone(p.flags.allowPeers)
}

// ports is LOW-HIGH.
func (u *udpPlan) ports() string { return fmt.Sprintf("%d-%d", u.low, u.high) }
