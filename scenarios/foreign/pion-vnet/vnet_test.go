// Package pionvnet connects two agents of pion/ice over pion's virtual network, which
// runs in real time: the pair of BenchmarkTrial (scenarios/trial), by other people's
// program, for make bench-pion. It is a module of its own and no part of the system.
package pionvnet

import (
	"context"
	"fmt"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/logging"
	"github.com/pion/stun/v4"
	"github.com/pion/transport/v5/vnet"
	"github.com/pion/turn/v5"
)

const (
	server = "198.51.100.1"
	port   = 3478
	// patience bounds a trial; some are not over before, where all processors are busy.
	patience = 10 * time.Second
)

// The classic NATs, by RFC 4787's mapping and filtering.
var (
	fullCone       = behavior(vnet.EndpointIndependent, vnet.EndpointIndependent)
	restricted     = behavior(vnet.EndpointIndependent, vnet.EndpointAddrDependent)
	portRestricted = behavior(vnet.EndpointIndependent, vnet.EndpointAddrPortDependent)
	symmetric      = behavior(vnet.EndpointAddrPortDependent, vnet.EndpointAddrPortDependent)
)

func behavior(mapping, filtering vnet.EndpointDependencyType) vnet.NATType {
	return vnet.NATType{MappingBehavior: mapping, FilteringBehavior: filtering, MappingLifeTime: 30 * time.Second}
}

// logs are what agents and routers say: errors only.
func logs() logging.LoggerFactory {
	f := logging.NewDefaultLoggerFactory()
	f.DefaultLogLevel = logging.LogLevelDisabled
	return f
}

// lab is two hosts behind NATs, each on a link with a delay, and one server that does
// STUN and TURN.
type lab struct {
	wan   *vnet.Router
	hosts [2]*vnet.Net
	turn  *turn.Server
}

func build(nats [2]vnet.NATType, delay time.Duration) (*lab, error) {
	wan, err := vnet.NewRouter(&vnet.RouterConfig{CIDR: "0.0.0.0/0", LoggerFactory: logs()})
	if err != nil {
		return nil, err
	}
	l := &lab{wan: wan}
	public, err := vnet.NewNet(&vnet.NetConfig{StaticIPs: []string{server}})
	if err != nil {
		return nil, err
	}
	if err := wan.AddNet(public); err != nil {
		return nil, err
	}
	for i := range l.hosts {
		home, err := vnet.NewRouter(&vnet.RouterConfig{
			StaticIPs: []string{fmt.Sprintf("203.0.113.%d", i+1)}, CIDR: fmt.Sprintf("192.168.%d.0/24", i),
			NATType: &nats[i], MinDelay: delay, LoggerFactory: logs(),
		})
		if err != nil {
			return nil, err
		}
		if l.hosts[i], err = vnet.NewNet(&vnet.NetConfig{StaticIPs: []string{fmt.Sprintf("192.168.%d.2", i)}}); err != nil {
			return nil, err
		}
		if err := home.AddNet(l.hosts[i]); err != nil {
			return nil, err
		}
		if err := wan.AddRouter(home); err != nil {
			return nil, err
		}
	}
	if err := wan.Start(); err != nil {
		return nil, err
	}
	conn, err := public.ListenPacket("udp", fmt.Sprintf("%s:%d", server, port))
	if err != nil {
		return nil, err
	}
	l.turn, err = turn.NewServer(turn.ServerConfig{
		AuthHandler: func(a *turn.RequestAttributes) (string, []byte, bool) {
			return a.Username, turn.GenerateAuthKey(a.Username, a.Realm, "password"), true
		},
		PacketConnConfigs: []turn.PacketConnConfig{{
			PacketConn:            conn,
			RelayAddressGenerator: &turn.RelayAddressGeneratorStatic{RelayAddress: net.ParseIP(server), Address: "0.0.0.0", Net: public},
		}},
		Realm: "lab", LoggerFactory: logs(),
	})
	return l, err
}

func (l *lab) close() {
	_ = l.turn.Close()
	_ = l.wan.Stop()
}

// agents starts both agents, and tells each the candidates of the other as they are
// found: there is no signalling to wait for.
func (l *lab) agents() (agents [2]*ice.Agent, err error) {
	urls := []*stun.URI{
		{Scheme: stun.SchemeTypeSTUN, Host: server, Port: port, Proto: stun.ProtoTypeUDP},
		{Scheme: stun.SchemeTypeTURN, Host: server, Port: port, Proto: stun.ProtoTypeUDP, Username: "user", Password: "password"},
	}
	for i := range agents {
		if agents[i], err = ice.NewAgent(&ice.AgentConfig{
			Urls: urls, NetworkTypes: []ice.NetworkType{ice.NetworkTypeUDP4}, MulticastDNSMode: ice.MulticastDNSModeDisabled,
			Net: l.hosts[i], LoggerFactory: logs(),
			// Without the half second and the second for which an agent waits for something
			// better before it takes a path that works; a relay waits for its 2 s.
			SrflxAcceptanceMinWait: new(time.Duration), PrflxAcceptanceMinWait: new(time.Duration),
		}); err != nil {
			return agents, err
		}
	}
	for i := range agents {
		other := agents[1-i]
		if err := agents[i].OnCandidate(func(c ice.Candidate) {
			if c == nil {
				return
			}
			if copied, err := ice.UnmarshalCandidate(c.Marshal()); err == nil {
				_ = other.AddRemoteCandidate(copied)
			}
		}); err != nil {
			return agents, err
		}
	}
	return agents, nil
}

// trial is one whole connection: a lab, two agents, a path, and a datagram each way.
// It reports whether the path is direct: an agent nominates what works first, and where
// nothing takes time that may be the relay.
func trial(nats [2]vnet.NATType, delay time.Duration) (direct bool, err error) {
	l, err := build(nats, delay)
	if err != nil {
		return false, err
	}
	defer l.close()
	agents, err := l.agents()
	if err != nil {
		return false, err
	}
	defer agents[0].Close()
	defer agents[1].Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var names, passwords [2]string
	for i, a := range agents {
		if names[i], passwords[i], err = a.GetLocalUserCredentials(); err != nil {
			return false, err
		}
	}
	for _, a := range agents {
		if err := a.GatherCandidates(); err != nil {
			return false, err
		}
	}
	var conns [2]*ice.Conn
	var errs [2]error
	var both sync.WaitGroup
	both.Go(func() { conns[0], errs[0] = agents[0].Dial(ctx, names[1], passwords[1]) })
	both.Go(func() { conns[1], errs[1] = agents[1].Accept(ctx, names[0], passwords[0]) })
	both.Wait()
	for i := range errs {
		if errs[i] != nil {
			return false, errs[i]
		}
	}
	direct = true
	for i := range conns {
		pair, err := agents[i].GetSelectedCandidatePair()
		if err != nil {
			return false, err
		}
		direct = direct && pair.Local.Type() != ice.CandidateTypeRelay && pair.Remote.Type() != ice.CandidateTypeRelay
		text, got := fmt.Sprint("payload of ", i), make([]byte, 100)
		if _, err := conns[i].Write([]byte(text)); err != nil {
			return false, err
		}
		if err := conns[1-i].SetReadDeadline(time.Now().Add(patience)); err != nil {
			return false, err
		}
		n, err := conns[1-i].Read(got)
		if err != nil || string(got[:n]) != text {
			return false, fmt.Errorf("got %q, %w", got[:n], err)
		}
	}
	return direct, nil
}

// cpuTime is what this process has used of all processors.
func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // fails for a bad pointer only
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// benchmark plays so many trials at once, again and again.
func benchmark(b *testing.B, nats [2]vnet.NATType, delay time.Duration, atOnce int) {
	type end struct {
		direct bool
		err    error
	}
	trials, direct, failed, used := 0, 0, 0, cpuTime()
	for b.Loop() {
		ends := make(chan end, atOnce)
		for range atOnce {
			go func() {
				direct, err := trial(nats, delay)
				ends <- end{direct, err}
			}()
		}
		for range atOnce {
			e := <-ends
			if e.err != nil {
				b.Logf("failed: %v", e.err)
				failed++
				continue
			}
			trials++
			if e.direct {
				direct++
			}
		}
	}
	if trials == 0 {
		b.Fatal("all trials failed")
	}
	b.ReportMetric(float64(trials)/b.Elapsed().Seconds(), "trials/s")
	b.ReportMetric(float64(trials)/(cpuTime()-used).Seconds(), "trials/s/core")
	b.ReportMetric(100*float64(direct)/float64(trials), "%direct")
	b.ReportMetric(float64(failed), "failed")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkTrial is one trial after the other, with the links' 20 ms; and 200 at once
// without a delay, so that they wait for nothing but processors, of which an operation
// is 200 trials.
func BenchmarkTrial(b *testing.B) {
	both := [2]vnet.NATType{portRestricted, portRestricted}
	b.Run("one by one, 20ms", func(b *testing.B) { benchmark(b, both, 20*time.Millisecond, 1) })
	b.Run("200 at once, 0ms", func(b *testing.B) { benchmark(b, both, 0, 200) })
}

// BenchmarkPairs is 200 at once without a delay, behind the pairs of NATs of the benchmark
// of this name in scenarios/trial.
func BenchmarkPairs(b *testing.B) {
	for _, pair := range []struct {
		name string
		nats [2]vnet.NATType
	}{
		{"full-cone+full-cone", [2]vnet.NATType{fullCone, fullCone}},
		{"restricted+port-restricted", [2]vnet.NATType{restricted, portRestricted}},
		{"port-restricted+port-restricted", [2]vnet.NATType{portRestricted, portRestricted}},
		{"symmetric+symmetric", [2]vnet.NATType{symmetric, symmetric}},
	} {
		b.Run(pair.name, func(b *testing.B) { benchmark(b, pair.nats, 0, 200) })
	}
}
