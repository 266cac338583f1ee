package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"p2pmodel/scenarios"
	"p2pmodel/sim"
)

// keeper leaves the labs of failed scenarios standing until it is released.
type keeper struct {
	say      func(text string)
	released chan struct{}
	once     sync.Once

	mu   sync.Mutex
	held int
}

func newKeeper(say func(string)) *keeper {
	return &keeper{say: say, released: make(chan struct{})}
}

// keep is the runner's hook: it returns when the lab may be taken down.
func (k *keeper) keep(sc *scenarios.Scenario, lab sim.Network, verdict scenarios.Verdict) {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s is %s. Its lab stands until Ctrl-C, without the peers and servers. To enter a node:\n", sc.ID, verdict)
	if err := howToEnter(&b, lab); err != nil {
		fmt.Fprintf(&b, "  %v\n", err)
	}
	k.count(1) // before it is said: who reads it may press Ctrl-C
	k.say(b.String())
	<-k.released
	k.count(-1)
}

func (k *keeper) count(by int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.held += by
}

// holding is the number of labs that are kept.
func (k *keeper) holding() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.held
}

// release lets all labs be taken down, those too that fail from now on.
func (k *keeper) release() { k.once.Do(func() { close(k.released) }) }

// howToEnter writes, for each node of a lab, a command that runs a shell in its
// network.
func howToEnter(w io.Writer, lab sim.Network) error {
	named, ok := lab.(interface {
		NamespacePath(name string) (string, error)
	})
	if !ok {
		return fmt.Errorf("this fabric's labs cannot be entered")
	}
	nodes := []string{sim.Internet}
	for _, r := range lab.Lab().Routers {
		nodes = append(nodes, r.Name)
	}
	for _, h := range lab.Lab().Hosts {
		nodes = append(nodes, h.Name)
	}
	width := 0
	for _, n := range nodes {
		width = max(width, len(n))
	}
	enter := "nsenter"
	if inUserNamespace() {
		enter += fmt.Sprintf(" --preserve-credentials --user=/proc/%d/ns/user", os.Getpid())
	}
	for _, n := range nodes {
		path, err := named.NamespacePath(n)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "  %-*s  %s --net=%s\n", width, n, enter, path)
	}
	return nil
}

// inUserNamespace reports whether this process's root is not the machine's: its
// ids are mapped. Whoever enters a lab then has to enter that namespace too.
func inUserNamespace() bool {
	mapping, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && strings.Join(strings.Fields(string(mapping)), " ") != "0 0 4294967295"
}
