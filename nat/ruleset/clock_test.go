//go:build linux

package ruleset_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"p2pmodel/nat"
)

// clock keeps packets away from the moments at which something ends: what the
// kernel does just then depends on its ticks. The zero value stands still.
type clock struct {
	began time.Time
	// lives are how long anything may live after a packet.
	lives []time.Duration
	// packets are when each was sent: not before, and not after.
	packets [][2]time.Duration
}

func (c *clock) now() time.Duration {
	if c.began.IsZero() {
		return 0
	}
	return time.Since(c.began)
}

// at is the model's time.
func (c *clock) at(now time.Duration) time.Time { return time.Unix(0, 0).Add(now) }

// near gives until when something may end that may begin to end between the two
// times; 0: nothing does.
func (c *clock) near(from, to time.Duration) (until time.Duration) {
	for _, p := range c.packets {
		for _, l := range c.lives {
			if p[0]+l-precision <= to && p[1]+l+precision >= from {
				until = max(until, p[1]+l+precision)
			}
		}
	}
	return until
}

// sent notes a packet; false: it was sent too near to an end.
func (c *clock) sent(from time.Duration) bool {
	to := c.now()
	clear := c.near(from, to) == 0
	c.packets = append(c.packets, [2]time.Duration{from, to})
	return clear
}

// pause waits for so long, and on until nothing is about to end.
func (c *clock) pause(d time.Duration) {
	const room = 3 * time.Millisecond
	<-time.After(d)
	for until := c.near(c.now(), c.now()+room); until > 0; until = c.near(c.now(), c.now()+room) {
		<-time.After(until - c.now() + time.Millisecond)
	}
}

// The same with all the times: idle ones of each protocol, of streams, rotation.
func TestTimesModel(t *testing.T) {
	const behaviors, bursts, burst = 64, 12, 6
	var judged atomic.Int64
	t.Cleanup(func() {
		if n := judged.Load(); n < behaviors*bursts*burst/4 && !t.Failed() {
			t.Errorf("only %d of %d packets were sent at a time that tells something: the machine is too busy", n, behaviors*bursts*burst)
		}
	})
	for seed := range uint64(behaviors) {
		r := rand.New(rand.NewPCG(seed, 2))
		b := drawBehavior(r)
		b.Pooling = nat.PoolPaired
		ms := func(low, count int) time.Duration { return time.Duration(low+10*r.IntN(count)) * time.Millisecond }
		one, other := ms(200, 20), ms(300, 40)
		either := func() time.Duration { return []time.Duration{one, other}[r.IntN(2)] }
		b.Timeout, b.Stream, b.TimeoutTCP, b.TimeoutICMP = one, either(), either(), either()
		if r.IntN(2) == 0 {
			b.Rotate = ms(250, 40)
		}
		t.Run(fmt.Sprintf("%d,%v", seed, b), func(t *testing.T) {
			t.Parallel()
			d := newDuel(t, b, 1, seed)
			d.began, d.lives = time.Now(), slices.DeleteFunc([]time.Duration{one, other, b.Rotate}, func(l time.Duration) bool { return l == 0 })
			for i := range bursts * burst {
				if i%burst == 0 {
					d.pause(ms(20, 18))
				}
				if !d.step(i, d.packet()) {
					return
				}
				judged.Add(1)
			}
		})
	}
}
