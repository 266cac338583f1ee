package lab

import (
	"os"
	"os/exec"
	"testing"
)

// Every lab that is timed is one: a datagram passes a NAT and is answered, and nothing is left.
func TestLabs(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to make network namespaces: run `sudo make test`")
	}
	for _, tool := range []string{"ip", "nft", "sysctl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s: apt-get install iproute2 nftables procps", tool)
		}
	}
	r := &Run{Pairs: []int{2}, Rounds: 1, Say: func(string) {}}
	p, err := r.Compare(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range p.Comparisons {
		for _, s := range c.Systems {
			if len(s.Samples) != 1 || s.Samples[0] <= 0 {
				t.Errorf("%s, %s: %v", c.Title, s.Name, s.Samples)
			}
		}
	}
	grown, err := r.Curve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range grown.Curves {
		for _, l := range c.Lines {
			if len(l.Points) != 1 || l.Points[0].X != 6 || len(l.Points[0].Samples) != 1 {
				t.Errorf("%s, %s: %+v", c.Title, l.Name, l.Points)
			}
		}
	}
	names, err := os.ReadDir("/run/netns")
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, n := range names {
		if len(n.Name()) > len(prefix) && n.Name()[:len(prefix)] == prefix {
			t.Errorf("left behind: namespace %s", n.Name())
		}
	}
}
