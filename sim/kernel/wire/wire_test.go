//go:build linux

package wire_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"p2pmodel/sim/kernel/wire"
	"p2pmodel/sim/link"
)

// arrival is a datagram that arrived: its number, when send was called and when
// it returned, and when the kernel received it. The wire got it between the first
// two.
type arrival struct {
	number             int
	sent, returned, at time.Time
}

// sendPaced sends n numbered datagrams of a size, one each interval, and returns
// those that arrived, in order. It waits until the wire has dealt with all and the
// receiver has what was delivered.
func sendPaced(tb testing.TB, c *cable, from, to *net.UDPConn, n, size int, interval time.Duration) []arrival {
	tb.Helper()
	raw, err := to.SyscallConn()
	must(tb, err)
	must(tb, raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1)
	}))
	must(tb, err)
	must(tb, to.SetReadDeadline(time.Time{}))
	var count atomic.Int64
	received := make(chan []arrival)
	go receive(to, &count, received)
	before, _ := c.link.Counters()
	b := make([]byte, size)
	returned := make([]time.Time, n)
	next := time.Now()
	for i := range n {
		binary.BigEndian.PutUint64(b, uint64(time.Now().UnixNano()))
		binary.BigEndian.PutUint64(b[8:], uint64(i))
		_, err := from.Write(b)
		must(tb, err)
		returned[i] = time.Now().Round(0)
		next = next.Add(interval)
		if interval > 0 {
			sleepUntil(next)
		}
	}
	c.waitFor(tb, "the wire deals with all that was sent", func(now wire.Counters) bool {
		return now.Offered-before.Offered >= uint64(n) && now.Delivered+now.Lost()+now.Failed >= now.Offered
	})
	after, _ := c.link.Counters()
	delivered := int64(after.Delivered - before.Delivered)
	for deadline := time.Now().Add(patience); count.Load() < delivered; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Errorf("the wire counts %d datagrams as delivered, %d came out of it", delivered, count.Load())
			break
		}
	}
	must(tb, to.SetReadDeadline(time.Now()))
	arrivals := <-received
	for i, a := range arrivals {
		arrivals[i].returned = returned[a.number]
	}
	return arrivals
}

// receive counts and keeps datagrams of sendPaced until the socket's deadline.
func receive(c *net.UDPConn, count *atomic.Int64, received chan<- []arrival) {
	var arrivals []arrival
	defer func() { received <- arrivals }()
	b, oob := make([]byte, 2048), make([]byte, 128)
	for {
		size, oobn, _, _, err := c.ReadMsgUDP(b, oob)
		if err != nil {
			return
		}
		if size < 16 {
			continue
		}
		messages, err := unix.ParseSocketControlMessage(oob[:oobn])
		if err != nil || len(messages) == 0 {
			continue
		}
		sec := int64(binary.NativeEndian.Uint64(messages[0].Data))
		nsec := int64(binary.NativeEndian.Uint64(messages[0].Data[8:]))
		arrivals = append(arrivals, arrival{
			number: int(binary.BigEndian.Uint64(b[8:])),
			sent:   time.Unix(0, int64(binary.BigEndian.Uint64(b))),
			at:     time.Unix(sec, nsec),
		})
		count.Add(1)
	}
}

// sleepUntil paces the sender; it is not a wait for a condition.
func sleepUntil(t time.Time) {
	if d := time.Until(t); d > 0 {
		ts := unix.NsecToTimespec(int64(d))
		_ = unix.Nanosleep(&ts, nil)
	}
}

// delays gives how long each took, the shortest first.
func delays(arrivals []arrival) []time.Duration {
	d := make([]time.Duration, len(arrivals))
	for i, a := range arrivals {
		d[i] = a.at.Sub(a.sent)
	}
	slices.Sort(d)
	return d
}

func inOrder(arrivals []arrival) bool {
	return slices.IsSortedFunc(arrivals, func(a, b arrival) int { return a.number - b.number })
}

// percentile takes sorted values.
func percentile(s []time.Duration, p float64) time.Duration {
	return s[min(int(float64(len(s))*p), len(s)-1)]
}

func TestDelayIsWhatWasAsked(t *testing.T) {
	for _, delay := range []time.Duration{0, 5 * time.Millisecond, 50 * time.Millisecond} {
		t.Run(delay.String(), func(t *testing.T) {
			c := newCable(t, link.Impairment{Delay: delay}, link.Impairment{})
			to := c.udp(t, 1)
			arrivals := sendPaced(t, c, c.dial(t, 0, to), to, 500, 64, time.Millisecond)
			if len(arrivals) != 500 {
				t.Fatalf("%d of 500 datagrams arrived; %v", len(arrivals), c.link.Err())
			}
			took := delays(arrivals)
			p50, p99 := percentile(took, .5)-delay, percentile(took, .99)-delay
			t.Logf("error of %v: p50 %v, p99 %v", delay, p50, p99)
			if took[0] < delay {
				t.Errorf("a datagram took %v, less than the delay of %v", took[0], delay)
			}
			// Ten times what an idle machine shows: this one shares its two cores.
			if p50 > 2*time.Millisecond {
				t.Errorf("half the datagrams were more than %v late; an idle machine shows 0.1 ms", p50)
			}
		})
	}
}

func TestLossIsWithinTheBinomialInterval(t *testing.T) {
	const n, loss = 4000, 0.1
	c := newCable(t, link.Impairment{Loss: loss}, link.Impairment{})
	to := c.udp(t, 1)
	arrivals := sendPaced(t, c, c.dial(t, 0, to), to, n, 64, 0)
	lost := n - len(arrivals)
	if sigma := math.Sqrt(n * loss * (1 - loss)); math.Abs(float64(lost)-n*loss) > 4*sigma {
		t.Errorf("lost %d of %d at %v, expected %v ± %.0f", lost, n, loss, n*loss, 4*sigma)
	}
	if !inOrder(arrivals) {
		t.Error("datagrams overtook each other on a link without reordering")
	}
	up, down := c.link.Counters()
	if up.Offered != n || up.By[link.Loss] != uint64(lost) || up.Delivered != uint64(n-lost) || up.Lost() != uint64(lost) {
		t.Errorf("counters %+v do not say that %d of %d were lost", up, lost, n)
	}
	if down.Offered != 0 {
		t.Errorf("the other direction counted %d frames, so the wire sees its own echoes", down.Offered)
	}
}

func TestJitterKeepsOrderUnlessAsked(t *testing.T) {
	for _, reorder := range []bool{false, true} {
		t.Run(fmt.Sprintf("reorder=%v", reorder), func(t *testing.T) {
			c := newCable(t, link.Impairment{Delay: 6 * time.Millisecond, Jitter: 5 * time.Millisecond, Reorder: reorder}, link.Impairment{})
			to := c.udp(t, 1)
			arrivals := sendPaced(t, c, c.dial(t, 0, to), to, 500, 64, 200*time.Microsecond)
			if len(arrivals) != 500 {
				t.Fatalf("%d of 500 arrived", len(arrivals))
			}
			if inOrder(arrivals) == reorder {
				t.Errorf("in order: %v", !reorder)
			}
		})
	}
}

// TestRateAndQueue compares each arrival with a link that serves what got past
// the queue one after another. When the wire was offered a datagram is known only
// to lie between send's call and its return, so there are two such links: nothing
// may be earlier than the one allows, and lateness against the other must not grow,
// as it does behind a link that is slower. A sender or a wire that is held up for a
// while is late for a while; the least lateness of many does not show it.
func TestRateAndQueue(t *testing.T) {
	const rate, size, n = 8_000_000, 1000, 500
	const each = time.Second * size * 8 / rate
	c := newCable(t, link.Impairment{Rate: rate, Queue: 100 * size}, link.Impairment{})
	to := c.udp(t, 1)
	arrivals := sendPaced(t, c, c.dial(t, 0, to), to, n, size-28, 0)
	up, _ := c.link.Counters()
	arrived := len(arrivals)
	// A sender that is held up finds the queue emptier: more pass, never fewer.
	if arrived < 100 || up.By[link.Queue] != uint64(n-arrived) {
		t.Fatalf("%d of a burst of %d arrived over a queue of 100 (%+v)", arrived, n, up)
	}
	// And the queue holds back no more than it has room for, besides the one in service.
	if most := 102 + int(arrivals[arrived-1].returned.Sub(arrivals[0].sent)/each); arrived > most {
		t.Errorf("%d arrived, though no more than %d were served or found room in the queue", arrived, most)
	}
	var earliest, latest time.Time // of the datagram before
	late := make([]time.Duration, arrived)
	for i, a := range arrivals {
		earliest = later(earliest, a.sent).Add(each)
		latest = later(latest, a.returned).Add(each)
		if a.at.Before(earliest) {
			t.Fatalf("datagram %d came %v before a link of 8 Mbit/s could have carried it", a.number, earliest.Sub(a.at))
		}
		late[i] = a.at.Sub(latest)
	}
	first, last := slices.Min(late[:arrived/2]), slices.Min(late[arrived/2:])
	t.Logf("%d arrived; least lateness of the first half %v, of the second %v", arrived, first, last)
	if last > 2*time.Millisecond {
		t.Errorf("all of the second half came more than %v late (of the first: %v): the link is slower than 8 Mbit/s", last, first)
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// transfer sends size bytes over TCP, checks them and returns the time.
func transfer(tb testing.TB, c *cable, size int) time.Duration {
	tb.Helper()
	var listener net.Listener
	inside(tb, c.nodes[1], func() (err error) {
		listener, err = net.Listen("tcp4", net.JoinHostPort(addrs[1].String(), "0"))
		return err
	})
	defer listener.Close()
	want := make([]byte, size)
	for i := range want {
		want[i] = byte(i * 7)
	}
	got := bytes.Repeat([]byte{0xff}, size) // there already: page faults are not to be measured
	result := make(chan error, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			result <- err
			return
		}
		defer conn.Close()
		_, err = io.ReadFull(conn, got)
		if err == nil {
			var more int
			if more, err = conn.Read(make([]byte, 1)); err == io.EOF {
				err = nil
			}
			if more > 0 {
				err = errors.New("more bytes came than were sent")
			}
		}
		result <- err
	}()
	start := time.Now()
	var conn net.Conn
	inside(tb, c.nodes[0], func() (err error) {
		conn, err = net.DialTimeout("tcp4", listener.Addr().String(), patience)
		return err
	})
	must(tb, conn.SetDeadline(time.Now().Add(3*patience)))
	_, err := conn.Write(want)
	must(tb, err)
	must(tb, conn.Close())
	must(tb, <-result)
	took := time.Since(start)
	if !bytes.Equal(got, want) {
		tb.Fatal("bytes changed on the way")
	}
	return took
}

func TestTCPThroughOffload(t *testing.T) {
	const size = 32 << 20
	c := newCable(t, link.Impairment{Delay: time.Millisecond}, link.Impairment{Delay: time.Millisecond})
	took := transfer(t, c, size)
	up, _ := c.link.Counters()
	t.Logf("%d MiB in %v: %.2f Gbit/s, %d frames of %d bytes", size>>20, took, size*8/took.Seconds()/1e9, up.Delivered, up.Bytes/up.Delivered)
	if up.Bytes/up.Delivered < 3000 {
		t.Errorf("frames of %d bytes on average: segments of offload did not pass", up.Bytes/up.Delivered)
	}
	must(t, c.link.Err())
}

func TestPerPacketImpairmentsSeePackets(t *testing.T) {
	const size = 8 << 20
	c := newCable(t, link.Impairment{Delay: time.Millisecond, Loss: 0.002}, link.Impairment{Delay: time.Millisecond})
	transfer(t, c, size)
	up, _ := c.link.Counters()
	if up.Delivered < size/1500 {
		t.Errorf("%d frames carried %d MiB: loss was per segment of offload, not per packet", up.Delivered, size>>20)
	}
	if up.By[link.Loss] == 0 {
		t.Error("nothing was lost")
	}
	// And back: offload returns with the impairment gone.
	must(t, c.link.Set(link.Impairment{Delay: time.Millisecond}, link.Impairment{}))
	before := up
	transfer(t, c, size)
	up, _ = c.link.Counters()
	if frames := up.Delivered - before.Delivered; frames > size/3000 {
		t.Errorf("%d frames carried %d MiB after the impairment was lifted: offload is still off", frames, size>>20)
	}
}

func TestCutLosesWhatEntersAndWhatIsOnItsWay(t *testing.T) {
	// The delay is long enough for a busy machine to cut the link meanwhile.
	c := newCable(t, link.Impairment{Delay: time.Second}, link.Impairment{})
	to := c.udp(t, 1)
	from := c.dial(t, 0, to)
	send := func(s string) {
		_, err := from.Write([]byte(s))
		must(t, err)
	}
	send("on its way")
	must(t, c.link.Cut(true))
	send("entered the cut")
	c.waitFor(t, "both are lost to the cut", func(up wire.Counters) bool { return up.By[link.Cut] == 2 })
	must(t, c.link.Cut(false))
	must(t, c.link.Set(link.Impairment{}, link.Impairment{}))
	send("after")
	if got := read(t, to, patience); string(got) != "after" {
		t.Errorf("got %q after the link was restored, want %q", got, "after")
	}
	if up, _ := c.link.Counters(); up.By[link.Cut] != 2 || up.Delivered != 1 {
		t.Errorf("counters %+v, want 2 cut and 1 delivered", up)
	}
}

// TestQueueingDisciplineOfTheInnerEndHasNoSay puts a queueing discipline that drops all on
// the inner end, as Linux does for a while after each change of carrier.
func TestQueueingDisciplineOfTheInnerEndHasNoSay(t *testing.T) {
	c := newCable(t, link.Impairment{}, link.Impairment{})
	inside(t, c.middle, func() error {
		return netlink.QdiscReplace(&netlink.Tbf{
			QdiscAttrs: netlink.QdiscAttrs{LinkIndex: c.inner[1].Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT},
			// A bucket of 10 bytes (its filling time in ticks of 64 ns): no frame fits.
			Rate: 1000, Limit: 10, Buffer: uint32(10 * time.Millisecond / 64),
		})
	})
	to := c.udp(t, 1)
	arrivals := sendPaced(t, c, c.dial(t, 0, to), to, 10, 64, 0)
	if len(arrivals) != 10 {
		t.Errorf("%d of 10 arrived: the inner end's queueing discipline had a say", len(arrivals))
	}
}

func TestSetDividesPacketsByTheTimeOfSending(t *testing.T) {
	c := newCable(t, link.Impairment{Loss: 1}, link.Impairment{})
	to := c.udp(t, 1)
	from := c.dial(t, 0, to)
	for range 100 {
		_, err := from.Write([]byte("before"))
		must(t, err)
	}
	must(t, c.link.Set(link.Impairment{}, link.Impairment{}))
	_, err := from.Write([]byte("after"))
	must(t, err)
	if got := read(t, to, patience); string(got) != "after" {
		t.Errorf("first to arrive is %q", got)
	}
	var axis *link.AxisError
	if err := c.link.Set(link.Impairment{}, link.Impairment{Loss: 2}); !errors.As(err, &axis) || axis.Axis != "loss" {
		t.Errorf("a loss of 2 was accepted: %v", err)
	}
}

func TestClosed(t *testing.T) {
	c := newCable(t, link.Impairment{}, link.Impairment{})
	to := c.udp(t, 1)
	from := c.dial(t, 0, to)
	_, err := from.Write([]byte("x"))
	must(t, err)
	if read(t, to, patience) == nil {
		t.Fatalf("nothing passes: %v", c.link.Err())
	}
	must(t, c.link.Close())
	must(t, c.link.Close())
	if err := c.link.Cut(true); !errors.Is(err, wire.ErrClosed) {
		t.Errorf("Cut of a closed link: %v", err)
	}
	must(t, c.scheduler.Close())
	if up, _ := c.link.Counters(); up.Delivered != 1 {
		t.Errorf("counts are lost with the scheduler: %+v", up)
	}
	if err := c.link.Set(link.Impairment{}, link.Impairment{}); !errors.Is(err, wire.ErrClosed) {
		t.Errorf("Set after the scheduler closed: %v", err)
	}
}
