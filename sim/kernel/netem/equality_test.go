//go:build linux

package netem_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"p2pmodel/sim"
	"p2pmodel/sim/kernel"
	"p2pmodel/sim/kernel/netem"
	"p2pmodel/sim/link"
)

// trial is what is sent through both backends, and what must be seen.
type trial struct {
	name     string
	does     link.Impairment
	packets  int
	interval time.Duration // between packets
	size     int           // of the payload, 16 at least
	expect   []metric
}

// metric is one number of what was observed.
type metric struct {
	name      string
	of        func(o observation) float64
	promised  float64
	tolerance float64
	unit      string
}

// observation is what came of the packets of one trial.
type observation struct {
	sent   int
	order  []int           // numbers, as they arrived
	delays []time.Duration // of the same
	times  []time.Time     // of arrival
	size   int             // of an IP packet, in bytes
}

const (
	ms = time.Millisecond
	// late is how late a packet may be on the emulated machine, in ms: one processor
	// sends, carries and receives.
	late = 1.0
)

// share is a metric of a share of n packets, with a tolerance of four and a half
// standard deviations; clumped is by how much losses that come together spread it.
func share(name string, of func(observation) float64, p float64, n int, clumped float64) metric {
	return metric{name, of, 100 * p, 450*math.Sqrt(p*(1-p)*clumped/float64(n)) + 0.02, "%"}
}

var trials = []trial{
	{"delay 20 ms", link.Impairment{Delay: 20 * ms}, 400, 5 * ms, 100, []metric{
		{"p50", percentile(50), 20, late, "ms"}, {"p99", percentile(99), 20, 5 * late, "ms"}, {"mean", mean, 20, late, "ms"},
	}},
	{"jitter 30 ± 20 ms", link.Impairment{Delay: 30 * ms, Jitter: 20 * ms, Reorder: true}, 2000, 2 * ms, 100, []metric{
		{"mean", mean, 30, late + 2, "ms"}, {"deviation", deviation, 20 / math.Sqrt(3), 1, "ms"},
		{"p5", percentile(5), 12, 2 + late, "ms"}, {"p95", percentile(95), 48, 2 + late, "ms"},
		{"KS distance", distance(func(x float64) float64 { return (x - 10) / 40 }), 0, ks(2000, late/40), ""},
	}},
	{"normal jitter 40, σ 8 ms", link.Impairment{Delay: 40 * ms, Jitter: 8 * ms, Distribution: link.Normal, Reorder: true}, 2000, 2 * ms, 100, []metric{
		{"mean", mean, 40, late + 1, "ms"}, {"deviation", deviation, 8, 1, "ms"},
		{"KS distance", distance(func(x float64) float64 { return (1 + math.Erf((x-40)/8/math.Sqrt2)) / 2 }), 0, ks(2000, late/8*0.4), ""},
	}},
	{"loss 5 %", link.Impairment{Loss: .05}, 8000, ms, 100, []metric{share("lost", lost, .05, 8000, 1)}},
	{"bursts 5 %, length 4", link.Impairment{Burst: link.Bursts(.05, 4)}, 16000, ms, 100, []metric{
		share("lost", lost, .05, 16000, 7),
		// Some 200 bursts, with a deviation of √(4·3) packets each.
		{"mean burst", burst, 4, 4.5 * math.Sqrt(12.0/200), "packets"},
	}},
	{"good and bad", link.Impairment{Burst: link.Burst{P: .02, R: .1, Bad: .6, Good: .01}}, 16000, ms, 100, []metric{
		share("lost", lost, link.Burst{P: .02, R: .1, Bad: .6, Good: .01}.Loss(), 16000, 10),
	}},
	{"duplicate 3 %", link.Impairment{Delay: 5 * ms, Duplicate: .03}, 8000, ms, 100, []metric{share("twice", twice, .03, 8000, 1), {"lost", lost, 0, 0, "%"}}},
	// What is wrong by a bit falls to a checksum. netem's bit is one of the whole
	// frame, of which that of the sender's address (6 of 1042 bytes) hurts nobody.
	{"corrupt 4 %", link.Impairment{Corrupt: .04}, 8000, ms, 1000, []metric{share("lost", lost, .04, 8000, 1)}},
	{"overtake 10 %", link.Impairment{Delay: 30 * ms, Overtake: link.Overtake{Share: .1}}, 2000, 5 * ms, 100, []metric{share("overtook", overtook, .1, 2000, 1)}},
	{"overtake, gap 5", link.Impairment{Delay: 30 * ms, Overtake: link.Overtake{Share: .5, Gap: 5}}, 2000, 5 * ms, 100, []metric{
		// Four that may not, then two on average until one does: each sixth.
		share("overtook", overtook, 1.0/6, 2000, 1),
	}},
	{"rate 2 Mbit/s", link.Impairment{Rate: 2_000_000, Queue: 1 << 20}, 400, 2 * ms, 972, []metric{{"rate", rate, 2, 0.06, "Mbit/s"}, {"lost", lost, 0, 0, "%"}}},
	{"rate 20 Mbit/s, delay 10 ms", link.Impairment{Rate: 20_000_000, Queue: 1 << 20, Delay: 10 * ms}, 2000, 200 * time.Microsecond, 972, []metric{{"rate", rate, 20, 0.6, "Mbit/s"}}},
	// 40 ms for the line to send the queue, and half of each packet's time.
	{"queue of 20 kB at 1 Mbit/s", link.Impairment{Rate: 1_000_000, Queue: 20_000}, 200, 50 * time.Microsecond, 972, []metric{
		{"delivered", delivered, 22, 3, "packets"}, {"longest wait", percentile(100), 168, 20, "ms"},
	}},
}

// TestBackendsAreEqual sends the same packets through the wire and through netem,
// and holds both against what the impairment promises.
func TestBackendsAreEqual(t *testing.T) {
	needNetem(t)
	var table strings.Builder
	tw := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	defer func() {
		_ = tw.Flush()
		t.Logf("\n%s", table.String())
	}()
	fmt.Fprint(tw, "link\tnumber\tpromised\twire\tnetem\ttolerance\t\n")
	for _, c := range trials {
		t.Run(c.name, func(t *testing.T) { compare(t, tw, c) })
	}
}

// compare makes one trial of both backends, and writes its lines of the table.
func compare(t *testing.T, table io.Writer, c trial) {
	var seen [2]observation
	backends := []kernel.Backend{kernel.WireLinks, kernel.NetemLinks}
	for i, backend := range backends {
		seen[i] = observe(t, backend, c)
	}
	for _, m := range c.expect {
		verdict := ""
		var got [2]float64
		for i, backend := range backends {
			if got[i] = m.of(seen[i]); !(math.Abs(got[i]-m.promised) <= m.tolerance) {
				verdict += " ✗ " + backend.String()
				t.Errorf("%s by %s: %.3g %s, promised %.3g ± %.2g", m.name, backend, got[i], m.unit, m.promised, m.tolerance)
			}
		}
		fmt.Fprintf(table, "%s\t%s\t%.4g %s\t%.4g\t%.4g\t± %.2g\t%s\n", c.name, m.name, m.promised, m.unit, got[0], got[1], m.tolerance, verdict)
	}
}

// needNetem skips where there is no netem, and says so.
func needNetem(tb testing.TB) {
	tb.Helper()
	if os.Geteuid() != 0 {
		tb.Skip("needs root to make network namespaces: run `sudo make test`")
	}
	network, err := kernel.Fabric{Links: kernel.NetemLinks}.Build(context.Background(), lab(tb), sim.Options{})
	if errors.Is(err, netem.ErrMissing) {
		tb.Skipf("needs a kernel with sch_netem, as Debian's is: make qemu (%v)", err)
	}
	if err != nil {
		tb.Fatal(err)
	}
	if err := network.Close(); err != nil {
		tb.Fatal(err)
	}
}

func lab(tb testing.TB) *sim.Lab {
	tb.Helper()
	l, err := sim.ParseLab("lab.yaml", []byte("lab: {hosts: {a: {}, b: {}}, links: {a: {}}}"))
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

// stand builds a lab of two hosts with a link of a backend.
func stand(tb testing.TB, backend kernel.Backend) (network sim.Network, l sim.RunningLink) {
	tb.Helper()
	network, err := kernel.Fabric{Links: backend}.Build(context.Background(), lab(tb), sim.Options{Seed: 7, Unrecorded: true})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := network.Close(); err != nil {
			tb.Errorf("close: %v", err)
		}
	})
	if l, err = network.Link(sim.LinkID{Node: "a", Uplink: sim.DefaultUplink}); err != nil {
		tb.Fatal(err)
	}
	return network, l
}

// socket opens a UDP socket on a host, which tells when packets came.
func socket(tb testing.TB, network sim.Network, name string) (*net.UDPConn, netip.AddrPort) {
	tb.Helper()
	h, err := network.Host(name)
	if err != nil {
		tb.Fatal(err)
	}
	at := network.Plan().Addresses(name, sim.DefaultUplink)[0]
	packetConn, err := h.ListenPacket(context.Background(), "udp4", netip.AddrPortFrom(at, 0).String())
	if err != nil {
		tb.Fatal(err)
	}
	conn := packetConn.(*net.UDPConn)
	tb.Cleanup(func() { conn.Close() })
	raw, err := conn.SyscallConn()
	if err == nil {
		cerr := raw.Control(func(fd uintptr) {
			err = errors.Join(
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20))
		})
		err = errors.Join(err, cerr)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return conn, conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

// observe sends a trial's packets up a link and reads what arrives.
func observe(t *testing.T, backend kernel.Backend, c trial) observation {
	t.Helper()
	network, l := stand(t, backend)
	if err := l.Impair(c.does, link.Impairment{}); err != nil {
		t.Fatal(err)
	}
	from, _ := socket(t, network, "a")
	to, at := socket(t, network, "b")
	send(t, from, at, c)
	// What arrives late is still read: the socket holds all of it.
	wait := c.does.Delay + 5*c.does.Jitter + 100*ms
	if c.does.Rate > 0 {
		wait += time.Duration(float64(c.packets*(c.size+28)*8) / float64(c.does.Rate) * float64(time.Second))
	}
	time.Sleep(wait)
	o := receive(t, to)
	o.sent, o.size = c.packets, c.size+28
	up, _ := l.Counts()
	if int(up.Offered) != c.packets || c.does.Corrupt == 0 && int(up.Delivered) != len(o.order) {
		t.Errorf("%s by %s: counted %d in and %d out, where %d and %d were", c.name, backend, up.Offered, up.Delivered, c.packets, len(o.order))
	}
	return o
}

// send sends packets that say their number and when they were sent.
func send(t *testing.T, from *net.UDPConn, to netip.AddrPort, c trial) {
	t.Helper()
	b := make([]byte, c.size)
	began := time.Now()
	for n := range c.packets {
		if d := time.Until(began.Add(time.Duration(n) * c.interval)); d > 0 {
			ts := unix.NsecToTimespec(int64(d))
			_ = unix.Nanosleep(&ts, nil) // Go's timers are late
		}
		binary.BigEndian.PutUint64(b, uint64(n))
		binary.BigEndian.PutUint64(b[8:], uint64(time.Now().UnixNano()))
		if _, err := from.WriteToUDPAddrPort(b, to); err != nil {
			t.Fatal(err)
		}
	}
}

// receive reads all that a socket holds.
func receive(t *testing.T, from *net.UDPConn) (o observation) {
	t.Helper()
	raw, err := from.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	b, control := make([]byte, 2048), make([]byte, 128)
	err = raw.Control(func(fd uintptr) {
		for {
			n, controlled, _, _, err := unix.Recvmsg(int(fd), b, control, unix.MSG_DONTWAIT)
			if err != nil || n < 16 {
				return
			}
			at := timestamp(control[:controlled])
			o.order = append(o.order, int(binary.BigEndian.Uint64(b)))
			o.delays = append(o.delays, at.Sub(time.Unix(0, int64(binary.BigEndian.Uint64(b[8:])))))
			o.times = append(o.times, at)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func timestamp(control []byte) time.Time {
	messages, _ := syscall.ParseSocketControlMessage(control)
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SO_TIMESTAMPNS && len(m.Data) >= 16 {
			return time.Unix(int64(binary.NativeEndian.Uint64(m.Data)), int64(binary.NativeEndian.Uint64(m.Data[8:])))
		}
	}
	return time.Time{}
}

// The numbers of an observation. Times are in milliseconds, shares in percent.

func millis(d time.Duration) float64 { return float64(d) / float64(ms) }

func percentile(p int) func(observation) float64 {
	return func(o observation) float64 {
		if len(o.delays) == 0 {
			return math.NaN()
		}
		sorted := slices.Sorted(slices.Values(o.delays))
		return millis(sorted[min(len(sorted)*p/100, len(sorted)-1)])
	}
}

func mean(o observation) float64 {
	var sum float64
	for _, d := range o.delays {
		sum += millis(d)
	}
	return sum / float64(len(o.delays))
}

func deviation(o observation) float64 {
	m, sum := mean(o), 0.0
	for _, d := range o.delays {
		sum += (millis(d) - m) * (millis(d) - m)
	}
	return math.Sqrt(sum / float64(len(o.delays)))
}

// distance is that of Kolmogorov and Smirnov from a distribution.
func distance(cdf func(float64) float64) func(observation) float64 {
	return func(o observation) float64 {
		sorted := slices.Sorted(slices.Values(o.delays))
		worst := 0.0
		for i, d := range sorted {
			p := min(max(cdf(millis(d)), 0), 1)
			worst = max(worst, math.Abs(p-float64(i)/float64(len(sorted))), math.Abs(float64(i+1)/float64(len(sorted))-p))
		}
		return worst
	}
}

// ks is the distance that one in a thousand of samples of n exceeds, and what
// lateness adds to it.
func ks(n int, late float64) float64 { return 1.95/math.Sqrt(float64(n)) + late }

// arrivals counts how often each packet arrived.
func (o observation) arrivals() []int {
	count := make([]int, o.sent)
	for _, n := range o.order {
		count[n]++
	}
	return count
}

func (o observation) shareOf(is func(arrivals int) bool) float64 {
	n := 0
	for _, a := range o.arrivals() {
		if is(a) {
			n++
		}
	}
	return 100 * float64(n) / float64(o.sent)
}

func lost(o observation) float64  { return o.shareOf(func(a int) bool { return a == 0 }) }
func twice(o observation) float64 { return o.shareOf(func(a int) bool { return a == 2 }) }

func delivered(o observation) float64 { return float64(len(o.order)) }

// burst is the mean number of packets that are lost in a row.
func burst(o observation) float64 {
	bursts, all, in := 0, 0, false
	for _, a := range o.arrivals() {
		if a == 0 {
			all++
			if !in {
				bursts++
			}
		}
		in = a == 0
	}
	return float64(all) / float64(bursts)
}

// overtook is the share of packets that were there in less than half of the time.
func overtook(o observation) float64 {
	half, n := percentile(50)(o)/2, 0
	for _, d := range o.delays {
		if millis(d) < half {
			n++
		}
	}
	return 100 * float64(n) / float64(o.sent)
}

// rate is in Mbit/s, from the IP header on. The first packets may pass at once.
func rate(o observation) float64 {
	const skip = 5
	if len(o.times) < 2*skip {
		return math.NaN()
	}
	took := o.times[len(o.times)-1].Sub(o.times[skip]).Seconds()
	return float64((len(o.times)-1-skip)*o.size*8) / took / 1e6
}
