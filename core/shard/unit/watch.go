package unit

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	pion "github.com/pion/stun/v3"
	"github.com/prometheus/client_golang/prometheus"

	"p2pmodel/core/sansio"
	"p2pmodel/core/stun"
)

// How the UDP servers are asked whether they live: a STUN Binding request so
// often, repeated while no answer comes.
const (
	probeEvery  = 2 * time.Second
	probeResend = 250 * time.Millisecond
	probeFor    = time.Second
)

// target is a UDP server that answers STUN.
type target struct {
	name string
	addr netip.AddrPort
}

// watch knows which of the UDP servers answer.
type watch struct {
	network sansio.Network
	targets []target
	log     *slog.Logger
	up      *prometheus.GaugeVec

	mu   sync.Mutex
	dead []error // by target; nil: it answers
}

func newWatch(network sansio.Network, targets []target, log *slog.Logger, metrics prometheus.Registerer) (*watch, error) {
	w := &watch{
		network: network, targets: targets, log: log, dead: make([]error, len(targets)),
		up: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "p2pmodel_shard_udp_server_up", Help: "1 while a UDP server answers STUN."}, []string{"server"}),
	}
	for i, t := range targets {
		w.dead[i] = fmt.Errorf("the %s at %v has not answered yet", t.name, t.addr)
		w.up.WithLabelValues(t.name).Set(0)
	}
	if metrics == nil {
		return w, nil
	}
	return w, metrics.Register(w.up)
}

// ready is nil while all servers answer.
func (w *watch) ready() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var reasons []string
	for _, err := range w.dead {
		if err != nil {
			reasons = append(reasons, err.Error())
		}
	}
	if len(reasons) == 0 {
		return nil
	}
	return fmt.Errorf("%s", strings.Join(reasons, "; "))
}

// run asks all servers again and again.
func (w *watch) run(ctx context.Context) error {
	var asking sync.WaitGroup
	for i := range w.targets {
		asking.Go(func() { w.follow(ctx, i) })
	}
	<-ctx.Done()
	asking.Wait()
	return nil
}

// follow asks one server until ctx ends. At first it asks more often: a server of
// this process is just about to listen.
func (w *watch) follow(ctx context.Context, i int) {
	for first := true; ; first = false {
		err := w.ask(ctx, w.targets[i].addr)
		if ctx.Err() != nil {
			return
		}
		w.note(i, err)
		pause := probeEvery
		if first && err != nil {
			pause = probeResend
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

func (w *watch) note(i int, err error) {
	t := w.targets[i]
	if err != nil {
		err = fmt.Errorf("the %s at %v does not answer: %w", t.name, t.addr, err)
	}
	w.mu.Lock()
	was := w.dead[i]
	w.dead[i] = err
	w.mu.Unlock()
	switch {
	case was != nil && err == nil:
		w.up.WithLabelValues(t.name).Set(1)
		w.log.Info("a UDP server answers", "server", t.name, "address", t.addr.String())
	case was == nil && err != nil:
		w.up.WithLabelValues(t.name).Set(0)
		w.log.Error("a UDP server does not answer; no rooms are taken", "server", t.name, "address", t.addr.String(), "error", err)
	}
}

// ask sends Binding requests until one is answered, for probeFor.
func (w *watch) ask(ctx context.Context, addr netip.AddrPort) error {
	ctx, cancel := context.WithTimeout(ctx, probeFor)
	defer cancel()
	conn, err := w.network.ListenPacket(ctx, "udp", netip.AddrPortFrom(unspecified(addr.Addr()), 0).String())
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	id, err := stun.NewID(rand.Reader)
	if err != nil {
		return err
	}
	request := stun.Binding(id, stun.PaysForMapped)
	to := net.UDPAddrFromAddrPort(addr)
	buffer := make([]byte, 2048)
	for ctx.Err() == nil {
		if _, err := conn.WriteTo(request, to); err != nil {
			return err
		}
		_ = conn.SetReadDeadline(time.Now().Add(probeResend))
		if answered(conn, buffer, id) {
			return nil
		}
	}
	return fmt.Errorf("no answer to STUN for %v", probeFor)
}

// answered reads until the answer to a request has come, or the deadline.
func answered(conn net.PacketConn, buffer []byte, id [pion.TransactionIDSize]byte) bool {
	for {
		n, _, err := conn.ReadFrom(buffer)
		if err != nil {
			return false
		}
		if m, err := stun.Parse(buffer[:n]); err == nil && m.TransactionID == id && m.Type.Class == pion.ClassSuccessResponse {
			return true
		}
	}
}

func unspecified(a netip.Addr) netip.Addr {
	if a.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}
