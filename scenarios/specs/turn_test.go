//go:build linux

package specs_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	"golang.org/x/sys/unix"

	"p2pmodel/scenarios"
)

// turns is how many systems run at once over all processes of the suite: each is a
// dozen processes a lab, and more of them would wait for each other instead of
// for what they are about.
const turns = 2

// manyPairs is from how many pairs on a scenario stands alone. Each of a mesh's packets is
// captured at six places, and under the race detector their reader needs most of a
// processor: what the kernel cannot keep for it breaks the run.
const manyPairs = 100

// company says whether a scenario runs beside others.
func company(sc *scenarios.Scenario) any {
	if len(sc.Pairs()) >= manyPairs {
		return Serial
	}
	return Label()
}

// takeTurn waits until a system may run, and gives what ends its turn. One that
// scans takes all turns, for it leaves nothing of the machine to others. Turns are
// locks on files, which the kernel takes back from processes that die.
func takeTurn(ctx context.Context, dir string, sc *scenarios.Scenario) (end func(), err error) {
	if sc.System == nil {
		return func() {}, nil
	}
	all := slices.ContainsFunc(sc.Phases, func(p scenarios.Phase) bool { return len(p.Expect.Scans) > 0 })
	var held []*os.File
	end = func() {
		for _, f := range held {
			f.Close()
		}
	}
	for i := 0; ; i = (i + 1) % turns {
		f, err := os.OpenFile(filepath.Join(dir, fmt.Sprint("turn-", i)), os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			end()
			return nil, err
		}
		switch err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
		case err == nil:
			held = append(held, f)
			if !all || len(held) == turns {
				return end, nil
			}
			continue // in order: two that want all do not take half each
		default:
			f.Close()
		}
		if all {
			i-- // the same again
		}
		select {
		case <-ctx.Done():
			end()
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}
