package kernelpath

import (
	"math"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// BenchmarkPassing sends datagrams through the fast path, one by one, and others that are lost
// where the program begins, in turns: the difference is what passing on costs, delivery to
// the peer's socket included, at the least of all turns. program-ns is the program's
// share of it, with the cost of measuring it.
func BenchmarkPassing(b *testing.B) {
	r := start(b, true, true, true, true)
	for _, f := range []*far{r.client, r.peer} {
		if err := unix.Bind(f.capture, &unix.SockaddrLinklayer{}); err != nil { // it captures nothing any more
			b.Fatal(err)
		}
	}
	drop, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, shot), asm.Return()}})
	if err != nil {
		b.Fatal(err)
	}
	defer drop.Close()
	message := channelData(r.number, 120, make([]byte, 120))
	raw, err := r.client.conn.SyscallConn()
	if err != nil {
		b.Fatal(err)
	}
	const turn = 2000
	to := &unix.SockaddrInet4{Addr: farListen.Addr().As4(), Port: int(farListen.Port())}
	send := func() (used int64) {
		inside(b, func() error { // on a thread of its own
			begin := threadTime()
			err := raw.Control(func(fd uintptr) {
				for range turn {
					_ = unix.Sendto(int(fd), message, 0, to)
				}
			})
			used = threadTime() - begin
			return err
		})
		return used
	}
	lose := func() int64 {
		for index := range r.path.routes.attached {
			l, err := link.AttachTCX(link.TCXOptions{Interface: index, Program: drop, Attach: ebpf.AttachTCXIngress, Anchor: link.Head()})
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
		}
		return send()
	}
	passed, lost := int64(math.MaxInt64), int64(math.MaxInt64)
	for n := 0; n < b.N; n += 2 * turn {
		passed, lost = min(passed, send()), min(lost, lose())
	}
	b.ReportMetric(float64(lost)/turn, "sending-ns")
	b.ReportMetric(float64(passed-lost)/turn, "passing-ns")

	stats, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		b.Fatal(err)
	}
	defer stats.Close()
	before, err := r.path.program.Stats()
	if err != nil {
		b.Fatal(err)
	}
	send()
	after, err := r.path.program.Stats()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(after.Runtime-before.Runtime)/float64(after.RunCount-before.RunCount), "program-ns")
}

// threadTime is the processor time that this thread has had.
func threadTime() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		panic(err) // it takes a clock that every kernel has
	}
	return t.Nano()
}
