//go:build linux

package wire_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"p2pmodel/sim/kernel/wire"
	"p2pmodel/sim/link"
)

func TestDuplicatesArriveTwice(t *testing.T) {
	const n = 300
	c := newCable(t, link.Impairment{Duplicate: 1}, link.Impairment{})
	to := c.udp(t, 1)
	arrivals := sendPaced(t, c, c.dial(t, 0, to), to, n, 64, 0)
	if len(arrivals) != 2*n || !inOrder(arrivals) {
		t.Errorf("%d of %d datagrams, each sent twice, arrived; in order: %v", len(arrivals), 2*n, inOrder(arrivals))
	}
	if up, _ := c.link.Counters(); up.Offered != n || up.Delivered != 2*n || up.Duplicated != n {
		t.Errorf("counters %+v", up)
	}
}

func TestOvertakingPacketsSkipTheDelay(t *testing.T) {
	const n, share, delay = 1000, 0.1, 200 * time.Millisecond
	c := newCable(t, link.Impairment{Delay: delay, Overtake: link.Overtake{Share: share}}, link.Impairment{})
	to := c.udp(t, 1)
	arrivals := sendPaced(t, c, c.dial(t, 0, to), to, n, 64, 0)
	early := 0
	for _, a := range arrivals {
		if a.at.Sub(a.sent) < delay {
			early++
		}
	}
	up, _ := c.link.Counters()
	if sigma := math.Sqrt(n * share * (1 - share)); math.Abs(float64(early)-n*share) > 4*sigma || up.Overtook != uint64(early) {
		t.Errorf("%d of %d skipped the delay, want %.0f ± %.0f; the wire counts %d", early, n, n*share, 4*sigma, up.Overtook)
	}
}

// TestCorruptionIsFoundByChecksums: the receiver's kernel drops what was damaged,
// unless the sender did without a checksum.
func TestCorruptionIsFoundByChecksums(t *testing.T) {
	for _, unchecked := range []bool{false, true} {
		name := map[bool]string{false: "with a checksum", true: "without"}[unchecked]
		t.Run(name, func(t *testing.T) {
			const n = 200
			c := newCable(t, link.Impairment{Corrupt: 1}, link.Impairment{})
			to := c.udp(t, 1)
			from := c.dial(t, 0, to)
			if unchecked {
				raw, err := from.SyscallConn()
				must(t, err)
				must(t, raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_NO_CHECK, 1) }))
				must(t, err)
			}
			// Long, so that few are damaged in the UDP header.
			sent := bytes.Repeat([]byte{0xa5}, 1400)
			for range n {
				_, err := from.Write(sent)
				must(t, err)
			}
			up := c.waitFor(t, "all are delivered", func(now wire.Counters) bool { return now.Delivered == n })
			if up.By[link.Corrupt] != n || up.Lost() != 0 {
				t.Errorf("counters %+v, want %d corrupt and none lost", up, n)
			}
			arrived := 0
			for {
				got := read(t, to, time.Second)
				if got == nil {
					break
				}
				arrived++
				flipped := 0
				for i := range min(len(got), len(sent)) {
					for x := got[i] ^ sent[i]; x != 0; x &= x - 1 {
						flipped++
					}
				}
				if flipped > 1 {
					t.Fatalf("%d bits are flipped, want one", flipped)
				}
			}
			switch {
			case !unchecked && arrived != 0:
				t.Errorf("%d damaged datagrams with checksums arrived", arrived)
			case unchecked && arrived < n*9/10:
				t.Errorf("%d of %d damaged datagrams without checksums arrived", arrived, n)
			}
		})
	}
}

func TestBlackholeTakesLargePacketsInSilence(t *testing.T) {
	c := newCable(t, link.Impairment{MTU: 1280, Blackhole: true}, link.Impairment{})
	to := c.udp(t, 1)
	from := c.dial(t, 0, to)
	for _, size := range []int{1280 - 28, 1280 - 27, 1472} {
		_, err := from.Write(make([]byte, size))
		must(t, err)
	}
	c.waitFor(t, "three are dealt with", func(now wire.Counters) bool { return now.Delivered+now.Lost() == 3 })
	if got := read(t, to, patience); len(got) != 1252 {
		t.Errorf("%d bytes arrived first, want 1252", len(got))
	}
	if up, _ := c.link.Counters(); up.By[link.TooLarge] != 2 || up.Delivered != 1 {
		t.Errorf("counters %+v", up)
	}
}

func TestDropsSayWhatWasLostAndWhy(t *testing.T) {
	c := newCable(t, link.Impairment{Loss: 1}, link.Impairment{})
	to := c.udp(t, 1)
	from := c.dial(t, 0, to)
	before := time.Now()
	_, err := from.Write([]byte("lost on its way, " + strings.Repeat("and long ", 50)))
	must(t, err)
	c.waitFor(t, "it is lost", func(now wire.Counters) bool { return now.Lost() == 1 })
	drops, missed := c.link.Drops()
	if len(drops) != 1 || missed != 0 {
		t.Fatalf("%d drops, %d missed", len(drops), missed)
	}
	d := drops[0]
	if d.Reason != link.Loss || !d.Up || d.Protocol != unix.ETH_P_IP || d.At.Before(before.Round(0)) || d.At.After(time.Now()) {
		t.Errorf("drop %+v", d)
	}
	if len(d.Head) != link.HeadSize || d.Size != 28+17+9*50 || int(binary.BigEndian.Uint16(d.Head[2:])) != d.Size || !bytes.Contains(d.Head, []byte("lost on its way")) {
		t.Errorf("the drop's packet is %q (%d bytes)", d.Head, d.Size)
	}
	// More than the log holds: the latest stay.
	for range 9000 {
		_, err := from.Write([]byte("x"))
		must(t, err)
	}
	c.waitFor(t, "all are lost", func(now wire.Counters) bool { return now.Lost() == 9001 })
	if drops, missed := c.link.Drops(); len(drops)+int(missed) != 9001 || missed == 0 || drops[0].Size != 29 {
		t.Errorf("%d drops and %d missed, want 9001", len(drops), missed)
	}
}

// TestTraceDrivesDepartures: ten packets a trace's period, not more.
func TestTraceDrivesDepartures(t *testing.T) {
	trace, err := link.ParseTrace("ten", []byte(strings.Repeat("50\n", 9)+"100\n"))
	must(t, err)
	c := newCable(t, link.Impairment{Trace: trace, Queue: 1 << 20}, link.Impairment{})
	to := c.udp(t, 1)
	arrivals := sendPaced(t, c, c.dial(t, 0, to), to, 25, 1472, 0)
	if len(arrivals) != 25 {
		t.Fatalf("%d of 25 arrived", len(arrivals))
	}
	for i, want := range map[int]time.Duration{0: 50, 8: 50, 9: 100, 10: 150, 19: 200, 24: 250} {
		// The trace begins when the wire gets the first packet.
		least := arrivals[0].sent.Add(want * time.Millisecond)
		if arrivals[i].at.Before(least) {
			t.Errorf("packet %d came %v early", i, least.Sub(arrivals[i].at))
		}
	}
	if spread := arrivals[8].at.Sub(arrivals[0].at); spread > 40*time.Millisecond {
		t.Errorf("nine packets of one opportunity's time are spread over %v", spread)
	}
}

// TestLatenessIsMeasured: every frame counts, until a measurement begins anew.
func TestLatenessIsMeasured(t *testing.T) {
	c := newCable(t, link.Impairment{Delay: 5 * time.Millisecond}, link.Impairment{})
	to := c.udp(t, 1)
	arrivals := sendPaced(t, c, c.dial(t, 0, to), to, 200, 64, time.Millisecond)
	late, _ := c.link.Late()
	t.Logf("late by p50 %v, p99 %v, at most %v", late.P50, late.P99, late.Max)
	if late.Packets != uint64(len(arrivals)) || late.P50 <= 0 || late.P50 > late.P99 || late.P99 > late.Max {
		t.Errorf("lateness %+v of %d packets", late, len(arrivals))
	}
	must(t, c.link.Probe(1))
	must(t, c.link.EndProbe())
	if late, _ := c.link.Late(); late.Packets != 0 {
		t.Errorf("%d packets are remembered beyond a measurement", late.Packets)
	}
}
