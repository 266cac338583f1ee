package virtual_test

import (
	"bytes"
	"fmt"
	"runtime"
	"testing"
	"time"

	"p2pmodel/sim"
	"p2pmodel/sim/virtual"
)

// chatter is a lab in which everything that is random is at work, played for a
// while: its packets with their times, its drops, and the ports that were given.
func chatter(t *testing.T, seed uint64) string {
	n := buildSeeded(t, `lab:
  routers:
    home: {nat: "mapping=APDM,filtering=APDF,ports=random"}
    away: {nat: "kind=masquerade-fully-random"}
  hosts: {a: {behind: home}, b: {behind: away}, server: }
  links:
    home: {delay: 20ms, jitter: 8ms, loss: 5%, duplicate: 5%, corrupt: 5%, reorder: true}
    away: {delay: 5ms, burst: {loss: 10%, length: 3}, overtake: 10%}
`, seed)
	server := talk(t, n, "server", 700)
	var done []<-chan struct{}
	for i, name := range []string{"a", "b"} {
		m := talk(t, n, name, 0)
		done = append(done, n.Go(func() {
			for range 50 {
				m.say("198.18.0.4:700", "ping")
				_ = sim.Sleep(t.Context(), n, time.Duration(7+i)*ms)
			}
		}))
	}
	if err := sim.WaitAll(n, done...); err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	for _, p := range n.Packets() {
		fmt.Fprintf(&text, "%v %v %v %x\n", p.At.Sub(virtual.Epoch), p.Point, p.Direction, p.Data)
	}
	return text.String() + drops(t, n) + server.words()
}

// TestSeeds: one seed gives the same packets at the same times, byte by byte,
// whatever number of processors there is, and another one gives others.
func TestSeeds(t *testing.T) {
	first := chatter(t, 7)
	for _, processors := range []int{1, 2, 4} {
		before := runtime.GOMAXPROCS(processors)
		again := chatter(t, 7)
		runtime.GOMAXPROCS(before)
		if again != first {
			t.Errorf("on %d processors seed 7 gives other packets", processors)
		}
	}
	if chatter(t, 8) == first {
		t.Error("seeds 7 and 8 give the same packets")
	}
	if len(first) < 10_000 {
		t.Errorf("only %d bytes of packets", len(first))
	}
}

// TestManyLabsOfOneBlueprint: each is its own, also at once.
func TestManyLabsOfOneBlueprint(t *testing.T) {
	lab, err := sim.ParseLab("lab.yaml", []byte(home("mapping=EIM,filtering=APDF,ports=random")))
	if err != nil {
		t.Fatal(err)
	}
	b, err := virtual.Prepare(lab)
	if err != nil {
		t.Fatal(err)
	}
	play := func(seed uint64) (string, error) {
		n, err := b.Build(virtual.Setting{Seed: seed})
		if err != nil {
			return "", err
		}
		inside, server := talk(t, n, "inside", 5000), talk(t, n, "server", 700)
		inside.say("198.18.0.3:700", "ping")
		if err := sim.Sleep(t.Context(), n, time.Second); err != nil {
			return "", err
		}
		return server.words() + inside.words(), n.Close()
	}
	results := make([]string, 32)
	done := make(chan error, len(results))
	for i := range results {
		go func() {
			var err error
			results[i], err = play(uint64(i / 2))
			done <- err
		}()
	}
	for range results {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	for i := 0; i < len(results); i += 2 {
		if results[i] != results[i+1] || results[i] == results[(i+2)%len(results)] {
			t.Errorf("seed %d gives %q and %q, the next one %q", i/2, results[i], results[i+1], results[(i+2)%len(results)])
		}
	}
}
