package load

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"p2pmodel/ci/bench/packet"
)

// Flow is one client's way into the system under test.
type Flow struct {
	Socket int // connected, or else To says where to
	To     netip.AddrPort
	Header []byte // before each payload
}

// Load is what is sent and where it comes out.
type Load struct {
	Flows []Flow
	// Out are the sockets at which payloads come out, after Skip bytes of framing.
	Out  []int
	Skip int
	// Size is a payload's, MinSize at least. Burst is how many datagrams of one flow
	// follow each other, handed to the kernel at once.
	Size, Burst int
	// Frames, where it is set, sends the flows, that are connected, in the most that the system carries, where
	// each datagram is of another flow: more of them than by sockets.
	Frames *packet.Frames

	frames   [][]byte
	buffers  [][]byte
	sender   *packet.Sender
	receiver *packet.Receiver
	number   uint64
	polls    []unix.PollFd // of Out
	some     []int         // of Out: that have something
	run      uint32
	began    time.Time
	flow     int
}

// MinSize is the least payload: run, number and time.
const MinSize = 20

// Result is what came of a run.
type Result struct {
	Sent, Received, Lost uint64
	Elapsed              time.Duration
	Latency              *Histogram
	// Waited is the share of the time in which the load had nothing to do but wait for
	// the system under test: near 0, the load was the limit.
	Waited float64
	// Late is the share of the bursts that were sent more than a millisecond late.
	Late float64
}

// Rate is datagrams a second that came out.
func (r *Result) Rate() float64 { return float64(r.Received) / r.Elapsed.Seconds() }

// Prepare makes the buffers. It is called once.
func (l *Load) Prepare() error {
	if l.Size < MinSize {
		return fmt.Errorf("payload of %d bytes: at least %d", l.Size, MinSize)
	}
	if whole := l.Burst * (l.Size + 4); l.Burst < 1 || l.Burst > packet.MostSegments || l.Burst > 1 && whole > 65000 {
		return fmt.Errorf("bursts of %d datagrams: 1 to %d, and no more than 65000 bytes in all", l.Burst, packet.MostSegments)
	}
	l.buffers = make([][]byte, len(l.Flows))
	for i, f := range l.Flows {
		for range l.Burst {
			l.buffers[i] = append(append(l.buffers[i], f.Header...), make([]byte, l.Size)...)
		}
	}
	if l.Frames != nil {
		for i, f := range l.Flows {
			frame := l.Frames.Make(packet.Local(f.Socket), packet.Remote(f.Socket), len(l.buffers[i]))
			copy(frame[packet.FrameHeader:], l.buffers[i])
			l.frames = append(l.frames, frame)
		}
	}
	l.polls = make([]unix.PollFd, len(l.Out))
	for i, fd := range l.Out {
		l.polls[i] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	}
	l.sender, l.receiver = packet.NewSender(1), packet.NewReceiver(64, true)
	return nil
}

// begin forgets what is on the way.
func (l *Load) begin() *Result {
	l.run++
	l.number, l.began = 0, time.Now()
	return &Result{Latency: new(Histogram)}
}

// now is the time since the run began: cheaper than the time of day.
func (l *Load) now() time.Duration { return time.Since(l.began) }

// stamp writes run, number and time into a payload.
func (l *Load) stamp(b []byte, now time.Duration) {
	l.number++
	binary.NativeEndian.PutUint32(b, l.run)
	binary.NativeEndian.PutUint64(b[4:], l.number)
	binary.NativeEndian.PutUint64(b[12:], uint64(now))
}

// next counts the flows.
func (l *Load) next() (flow int) {
	flow = l.flow
	if l.flow++; l.flow == len(l.Flows) {
		l.flow = 0
	}
	return flow
}

// send sends the next flow's burst.
func (l *Load) send(now time.Duration) {
	i := l.next()
	f, b := &l.Flows[i], l.buffers[i]
	size := len(f.Header) + l.Size
	for at := len(f.Header); at < len(b); at += size {
		l.stamp(b[at:], now)
	}
	l.sender.Queue(f.To, b, size, 0)
	l.sender.Flush(f.Socket)
}

// fill sends until so many datagrams are on the way, or to some flows; true: they are.
func (l *Load) fill(r *Result, now time.Duration, window int) (full bool) {
	for range min(sendsAtOnce, len(l.Flows)) {
		if full = l.number-r.Received-r.Lost+uint64(l.Burst) > uint64(window); full {
			break
		}
		if l.frames == nil {
			l.send(now)
			continue
		}
		i := l.next()
		l.stamp(l.frames[i][packet.FrameHeader+len(l.Flows[i].Header):], now)
		l.Frames.Queue(l.frames[i])
	}
	if l.frames != nil {
		l.Frames.Flush()
	}
	return full
}

// ready are the sockets to look at: the only one, or those of many that have something.
func (l *Load) ready() []int {
	if len(l.Out) == 1 {
		return l.Out
	}
	l.some = l.some[:0]
	if n, err := unix.Poll(l.polls, 0); n == 0 || err != nil {
		return nil
	}
	for i := range l.polls {
		if l.polls[i].Revents != 0 {
			l.some = append(l.some, l.Out[i])
		}
	}
	return l.some
}

// receive counts what has come out.
func (l *Load) receive(r *Result) (any bool) {
	for _, fd := range l.ready() {
		n := l.receiver.Receive(fd)
		if n == 0 {
			continue
		}
		any = true
		now := l.now()
		for i := range n {
			payload, segment := l.receiver.Message(i)
			for len(payload) >= l.Skip+MinSize {
				one := payload[l.Skip:min(segment, len(payload))]
				if binary.NativeEndian.Uint32(one) == l.run {
					r.Received++
					r.Latency.Add(now-time.Duration(binary.NativeEndian.Uint64(one[12:])), 1)
				}
				payload = payload[min(segment, len(payload)):]
			}
		}
	}
	return any
}

// silence is after which what has not come out is lost.
const silence = 100 * time.Millisecond

// sendsAtOnce is how many bursts are sent until the load looks what has come out.
const sendsAtOnce = MostFrames

// MostFrames is how many Frames has to have room for.
const MostFrames = 32

// Saturate keeps so many datagrams on the way for a time, and gives how fast they come
// out: the most that the system carries, as long as Waited is not near 0.
func (l *Load) Saturate(d time.Duration, window int) *Result {
	r := l.begin()
	var waited, heard time.Duration
	for now := l.now(); now < d; now = l.now() {
		full := l.fill(r, now, window)
		if l.receive(r) {
			heard = l.now()
			continue
		}
		if full {
			after := l.now()
			waited += after - now
			if after-heard > silence {
				r.Lost, heard = l.number-r.Received, after
			}
		}
	}
	r.Elapsed, r.Sent = l.now(), l.number
	r.Waited = float64(waited) / float64(r.Elapsed)
	l.settle(r)
	return r
}

// Paced sends so many datagrams a second for a time, and waits for the last of them.
func (l *Load) Paced(d time.Duration, rate float64) *Result {
	r := l.begin()
	pause := float64(l.Burst) / rate * float64(time.Second)
	bursts, late := 0, 0
	for now := l.now(); now < d; now = l.now() {
		if due := time.Duration(float64(bursts) * pause); now >= due {
			if now-due > time.Millisecond {
				late++
			}
			bursts++
			l.send(now)
		}
		l.receive(r)
	}
	r.Elapsed, r.Sent = l.now(), l.number
	r.Late = float64(late) / float64(max(bursts, 1))
	l.settle(r)
	r.Lost = r.Sent - r.Received
	return r
}

// settle waits for what is on the way, without counting it to the rate.
func (l *Load) settle(r *Result) {
	rest := &Result{Latency: r.Latency}
	for heard := l.now(); l.now()-heard < silence && r.Received+rest.Received < r.Sent; {
		if l.receive(rest) {
			heard = l.now()
		}
	}
	r.Received += rest.Received
}
