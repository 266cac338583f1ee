//go:build linux

package sim_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"p2pmodel/nat"
	"p2pmodel/nat/certify"
	"p2pmodel/nat/ruleset"
	"p2pmodel/sim"
	"p2pmodel/sim/kernel"
	"p2pmodel/sim/kernel/residue"
)

func TestMain(m *testing.M) {
	kernel.Init()
	os.Exit(m.Run())
}

// fewer sets how many labs are drawn, unless the command line says so.
func fewer(t *testing.T, checks string) {
	t.Helper()
	const name = "rapid.checks"
	said := false
	flag.Visit(func(f *flag.Flag) { said = said || f.Name == name })
	if said {
		return
	}
	usual := flag.Lookup(name).Value.String()
	if err := flag.Set(name, checks); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = flag.Set(name, usual) })
}

// tally is what was done to random labs.
type tally struct{ nodes, links, certified, again atomic.Int64 }

// Random valid lab files are read, built and closed, and nothing is left of them.
// Of each, one NAT is certified, if it has one: its times are not, which would take
// them. `make labs` does this a thousand times.
func TestRandomLabsAreBuiltAndVanish(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to make network namespaces: run `sudo make test`")
	}
	// What the fabric asks of the kernel once is asked before.
	warm, err := kernel.Fabric{}.Build(t.Context(), &sim.Lab{Hosts: []sim.Host{{Name: "a", Uplinks: []sim.Uplink{{Name: sim.DefaultUplink}}}}}, sim.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := warm.Close(); err != nil {
		t.Fatal(err)
	}
	fewer(t, "40")
	var done tally
	began := time.Now()
	rapid.Check(t, func(t *rapid.T) {
		text := sim.Labs().Draw(t, "lab").YAML()
		lab, err := sim.ParseLab("lab.yaml", text)
		if err != nil {
			t.Fatalf("%v\nin:\n%s", err, text)
		}
		before := look(t)
		network, err := kernel.Fabric{}.Build(context.Background(), lab, sim.Options{Seed: rapid.Uint64().Draw(t, "seed")})
		if errors.Is(err, ruleset.ErrEviction) {
			return // a preset that no rules can be
		}
		if err != nil {
			t.Fatalf("%v\nin:\n%s", err, text)
		}
		done.nodes.Add(int64(len(lab.Hosts) + len(lab.Routers)))
		done.links.Add(int64(len(lab.Links)))
		failure := examine(t, network, &done)
		if err := errors.Join(failure, network.Err(), network.Close()); err != nil {
			t.Fatalf("%v\nin:\n%s", err, text)
		}
		if left := look(t).Since(before); len(left) > 0 {
			t.Fatalf("left behind: %q\nby:\n%s", left, text)
		}
	})
	t.Logf("%d nodes, %d impaired links, %d NATs certified (%d times again), in %v", done.nodes.Load(), done.links.Load(), done.certified.Load(), done.again.Load(), time.Since(began).Round(time.Millisecond))
}

// examine certifies one NAT of the lab.
func examine(t *rapid.T, network sim.Network, done *tally) error {
	var nats []string
	for _, r := range network.Lab().Routers {
		if r.NAT != nil && measurable(*r.NAT) {
			nats = append(nats, r.Name)
		}
	}
	if len(nats) == 0 {
		return nil
	}
	r, err := network.Router(rapid.SampledFrom(nats).Draw(t, "certified"))
	if err != nil {
		return err
	}
	// A busy machine may be why one fails: what is wrong, is so twice.
	var result certify.Result
	for range 2 {
		if result, err = r.Measure(context.Background(), certify.Options{Patience: time.Millisecond}); err != nil {
			return err
		}
		if result.OK() {
			done.certified.Add(1)
			return nil
		}
		done.again.Add(1)
	}
	return fmt.Errorf("router %s is not what it is declared to be: %s, measured %s", r.Name(), result.Declared, result.Measured)
}

// measurable leaves out tables that would be filled.
func measurable(b nat.Behavior) bool { return b.TableSize == 0 || b.TableSize > 1024 }

func look(t *rapid.T) residue.Snapshot {
	found, err := residue.Look()
	if err != nil {
		t.Fatal(err)
	}
	return found
}
