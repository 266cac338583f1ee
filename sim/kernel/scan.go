//go:build linux

package kernel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"p2pmodel/nat"
	"p2pmodel/sim"
	"p2pmodel/sim/kernel/afpacket"
	"p2pmodel/sim/kernel/scan"
)

const (
	defaultScanWait = 300 * time.Millisecond
	maxScanTargets  = 1000
	// scanBatch is how many probes one system call sends, scanBurst how many may
	// follow at once when time was lost: the kernel drops, in silence, what is
	// more than 1000 packets behind (net.core.netdev_max_backlog).
	scanBatch = 64
	scanBurst = 256
	// scanTries is how often a scan is repeated, each time at half the rate, when
	// the machine has dropped packets.
	scanTries = 4
)

// scans counts the scans that are under way: meanwhile the captures leave out
// probes.
type scans struct {
	mu    sync.Mutex
	count int
}

// ErrScanIncomplete is in errors of Scan when the machine could not keep up, so
// that nothing can be concluded from what was not reached.
var ErrScanIncomplete = errors.New("the machine dropped packets of the scan: let it work less at a time, or set a lower rate")

// Scan implements sim.RunningHost. It opens no sockets that others see: resets
// and answers come to nobody, and the kernel answers a SYN-ACK with a reset.
func (h *Host) Scan(ctx context.Context, s sim.Scan) (sim.ScanResult, error) {
	ctx, cancel := h.network.whileOpen(ctx)
	defer cancel()
	s, err := h.completeScan(s)
	if err != nil {
		return sim.ScanResult{}, h.errorf("scan", err)
	}
	leave, err := h.network.leaveOutScans()
	if err != nil {
		return sim.ScanResult{}, h.errorf("scan", err)
	}
	began := time.Now()
	result, err := h.scanPatiently(ctx, s)
	result.Took = time.Since(began)
	if err := errors.Join(err, leave()); err != nil {
		return result, h.errorf("scan", err)
	}
	h.network.log("host %s scanned %v with %d probes in %v: %s reached", h.lab.Name, s.Targets, result.Sent, result.Took.Round(time.Millisecond), result)
	return result, nil
}

// completeScan fills in what the scan leaves open, and checks it.
func (h *Host) completeScan(s sim.Scan) (sim.Scan, error) {
	if len(s.Targets) == 0 || len(s.Targets) > maxScanTargets {
		return s, fmt.Errorf("%d targets are not between 1 and %d", len(s.Targets), maxScanTargets)
	}
	own := h.uplinks[h.Active()].planned.NodeAddrs
	for _, a := range s.Targets {
		if !a.Is4() {
			return s, fmt.Errorf("target %v is not an IPv4 address", a)
		}
		if slices.Contains(own, a) {
			return s, fmt.Errorf("target %v is the host's own address", a)
		}
	}
	addr, port := s.From.Addr(), s.From.Port()
	if !addr.IsValid() {
		addr = own[0]
	}
	if !addr.Is4() {
		return s, fmt.Errorf("source %v is not an IPv4 address", addr)
	}
	if port == 0 {
		port = sim.DefaultScanPort
	}
	s.From = netip.AddrPortFrom(addr, port)
	for _, ports := range []*[]nat.PortRange{&s.TCP, &s.UDP} {
		if *ports == nil {
			*ports = []nat.PortRange{nat.AllPorts}
		}
		for _, r := range *ports {
			if r.Low == 0 || r.High < r.Low {
				return s, fmt.Errorf("%s is no range of ports", nat.FormatPort(r))
			}
		}
	}
	if translator, probes := h.behindNAT(), countProbes(s); translator != "" && probes > sim.MaxScanThroughNAT {
		return s, fmt.Errorf("the tables of the NAT %s have no room for %d probes at once, of %d at most: scan fewer ports at a time, or from a host without a NAT", translator, probes, sim.MaxScanThroughNAT)
	}
	if s.Rate < 0 || s.Wait < 0 {
		return s, errors.New("a rate or a wait below zero")
	}
	if s.Rate == 0 {
		if s.Rate = sim.DefaultScanRate; len(h.network.lab.Links) > 0 {
			s.Rate = sim.SlowScanRate
		}
	}
	if s.Wait == 0 {
		s.Wait = defaultScanWait
		for _, k := range h.network.lab.Links {
			s.Wait = max(s.Wait, defaultScanWait+4*max(k.Up.Delay+k.Up.Jitter, k.Down.Delay+k.Down.Jitter))
		}
	}
	return s, nil
}

// behindNAT names the nearest NAT in front of the host; empty: there is none.
func (h *Host) behindNAT() string {
	if realm := h.uplinks[h.Active()].planned.Realm; realm != sim.Internet {
		return realm
	}
	return ""
}

func countProbes(s sim.Scan) (n int) {
	for _, r := range slices.Concat(s.TCP, s.UDP) {
		n += r.Size()
	}
	return n * len(s.Targets)
}

// leaveOutScans has the captures leave out probes until the function that it
// gives is called.
func (n *Network) leaveOutScans() (restore func() error, err error) {
	n.scans.mu.Lock()
	defer n.scans.mu.Unlock()
	if n.scans.count == 0 {
		if err := n.recorder.Filter(evidence(n.opt.Connections, true)); err != nil {
			return nil, err
		}
		if n.dropLog != nil {
			n.dropLog.Pause()
		}
	}
	n.scans.count++
	return func() error {
		n.scans.mu.Lock()
		defer n.scans.mu.Unlock()
		if n.scans.count--; n.scans.count > 0 {
			return nil
		}
		if n.dropLog != nil {
			n.dropLog.Resume()
		}
		return n.recorder.Filter(evidence(n.opt.Connections, false))
	}, nil
}

// scanPatiently repeats a scan of which the machine has dropped packets.
func (h *Host) scanPatiently(ctx context.Context, s sim.Scan) (result sim.ScanResult, err error) {
	for range scanTries {
		var lost uint64
		result, lost, err = h.scanOnce(ctx, s)
		if err != nil || lost == 0 {
			return result, err
		}
		h.network.log("host %s: the machine dropped %d packets of a scan; once more at half the rate", h.lab.Name, lost)
		s.Rate = max(1, s.Rate/2)
		err = fmt.Errorf("%w (%d at last)", ErrScanIncomplete, lost)
	}
	return result, err
}

func (h *Host) scanOnce(ctx context.Context, s sim.Scan) (result sim.ScanResult, lost uint64, err error) {
	maker := scan.NewMaker(s.From, s.Targets)
	w, err := h.watchScan(maker)
	if err != nil {
		return result, 0, err
	}
	before, err := h.network.drops()
	if err == nil {
		result.Sent, err = h.sendProbes(ctx, maker, s)
	}
	// What a link holds up still comes.
	for quiet := s.Wait; err == nil && quiet > 0; quiet = s.Wait - w.silence() {
		err = sleep(ctx, quiet)
	}
	missed, watched := w.stop(&result)
	if err = errors.Join(err, watched, h.network.wireFaults()); err != nil {
		return result, 0, err
	}
	after, err := h.network.drops()
	return result, missed + after - before, err
}

// sendProbes sends all probes at the scan's rate.
func (h *Host) sendProbes(ctx context.Context, maker *scan.Maker, s sim.Scan) (sent int, err error) {
	p := &pace{rate: s.Rate, began: time.Now()}
	for i, target := range s.Targets {
		fd, err := h.rawSocket(target)
		if err != nil {
			return sent, err
		}
		q := &probeQueue{fd: fd, out: afpacket.NewSender(scanBatch), pace: p}
		err = q.addAll(ctx, s.TCP, func(port uint16) []byte { return maker.Append(nil, sim.TCP, i, port) })
		if err == nil {
			err = q.addAll(ctx, s.UDP, func(port uint16) []byte { return maker.Append(nil, sim.UDP, i, port) })
		}
		if err == nil {
			err = q.flush(ctx)
		}
		err = errors.Join(err, unix.Close(fd))
		sent += q.sent
		if err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// rawSocket opens one that sends whole IPv4 packets to a target.
func (h *Host) rawSocket(target netip.Addr) (fd int, err error) {
	err = h.node.ns.inside(func() error {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_RAW)
		if err != nil {
			return fmt.Errorf("open a raw socket: %w%s", err, hintFor(err))
		}
		if err = unix.Connect(fd, &unix.SockaddrInet4{Addr: target.As4()}); err != nil {
			_ = unix.Close(fd)
			return fmt.Errorf("no way to %v: %w", target, err)
		}
		return nil
	})
	return fd, err
}

// probeQueue sends probes to one target, in batches.
type probeQueue struct {
	fd      int
	out     *afpacket.Sender
	pace    *pace
	waiting [][]byte
	sent    int
}

func (q *probeQueue) addAll(ctx context.Context, ports []nat.PortRange, probe func(port uint16) []byte) error {
	for _, r := range ports {
		for port := int(r.Low); port <= int(r.High); port++ {
			if err := q.add(ctx, probe(uint16(port))); err != nil {
				return err
			}
		}
	}
	return nil
}

func (q *probeQueue) add(ctx context.Context, packet []byte) error {
	if q.waiting = append(q.waiting, packet); len(q.waiting) < q.out.Size() {
		return nil
	}
	return q.flush(ctx)
}

func (q *probeQueue) flush(ctx context.Context) error {
	if err := q.pace.wait(ctx, len(q.waiting)); err != nil {
		return err
	}
	for len(q.waiting) > 0 {
		n, err := q.out.Send(q.fd, q.waiting)
		q.waiting, q.sent = q.waiting[n:], q.sent+n
		switch {
		case err == nil:
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOBUFS):
			if err := sleep(ctx, time.Millisecond); err != nil {
				return err
			}
		case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.EHOSTUNREACH):
			// An error about an earlier probe, that a raw socket hears of.
		default:
			return fmt.Errorf("send probes: %w", err)
		}
	}
	q.waiting = nil
	return nil
}

// pace holds probes to a rate.
type pace struct {
	rate  int
	began time.Time
	sent  int
}

// wait waits until n more may be sent.
func (p *pace) wait(ctx context.Context, n int) error {
	due := func(sent int) time.Duration { return time.Duration(sent) * time.Second / time.Duration(p.rate) }
	ahead := time.Until(p.began.Add(due(p.sent)))
	if ahead > 0 {
		if err := sleep(ctx, ahead); err != nil {
			return err
		}
	} else if late := -ahead - due(scanBurst); late > 0 {
		p.began = p.began.Add(late) // lost time stays lost
	}
	p.sent += n
	return context.Cause(ctx)
}

// sleep waits for a time, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
