//go:build linux

package kernel_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"p2pmodel/nat"
	"p2pmodel/nat/certify"
)

// TestFurtherAxesAreCertified has NATs of the kernel measured that declare more
// than the classic axes, each in a lab of many.
func TestFurtherAxesAreCertified(t *testing.T) {
	rows := []struct {
		behavior string
		axes     string // that must be part of the result
	}{
		{"kind=masquerade", "kind"},
		{"port-restricted-cone,fallback=random,parity=keep", "fallback parity"},
		{"symmetric,delta=4", "delta"},
		{"symmetric,parity=keep", "parity"},
		{"full-cone,ports=block,block=64", "block"},
		{"full-cone,timeout=1s,stream=2s", "stream"},
		{"full-cone,timeout=1s,refresh=inbound", "refresh"},
		{"symmetric,ports=random,rotate=3s", "rotate"},
		{"full-cone,timeout-tcp=2s", "timeout-tcp"},
		{"kind=masquerade,early-inbound=accept", "kind early-inbound"},
		{"kind=masquerade,timeout=1s,stream=2s", "timeout stream refresh"},
		{"kind=masquerade,timeout-tcp=2s,timeout-icmp=1s", "timeout-tcp timeout-icmp"},
		{"kind=masquerade-random,timeout=1s", "ports timeout refresh"},
		{"kind=masquerade-fully-random", "ports"},
		{"port-restricted-cone,size=100", "size"},
		{"symmetric,range=40000-40299", "range"},
		{"full-cone,timeout-icmp=1s", "timeout-icmp"},
	}
	var lab strings.Builder
	lab.WriteString("lab:\n  routers:\n")
	for i, r := range rows {
		fmt.Fprintf(&lab, "    nat-%d: {nat: %q}\n", i, r.behavior)
	}
	lab.WriteString("  hosts:\n")
	for i := range rows {
		fmt.Fprintf(&lab, "    host-%d: {behind: nat-%d}\n", i, i)
	}
	n := stand(t, lab.String())
	var group sync.WaitGroup
	slots := make(chan struct{}, 4) // times are measured: the machine must not be too busy
	for i, row := range rows {
		group.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			r, err := router(t, n, fmt.Sprintf("nat-%d", i)).Measure(t.Context(), certify.Options{})
			if err != nil || !r.OK() {
				t.Errorf("%s: %v\ndeclared %s\nmeasured %s\n%+v", row.behavior, err, r.Declared, r.Measured, r.Findings)
			}
			for axis := range strings.FieldsSeq(row.axes) {
				if !strings.Contains(","+r.Measured, ","+axis+"=") {
					t.Errorf("%s: %s is no part of %s", row.behavior, axis, r.Measured)
				}
			}
		})
	}
	group.Wait()
}

// TestEveryPresetIsWhatItClaims certifies all presets on the kernel. Times that are
// longer than the usual patience are left out.
func TestEveryPresetIsWhatItClaims(t *testing.T) {
	presets := nat.Presets()
	lab := "lab:\n  routers:\n"
	hosts := "  hosts:\n"
	for _, p := range presets {
		addresses := ""
		if p.Behavior.Pooling == nat.PoolArbitrary {
			addresses = ", addresses: 2"
		}
		lab += fmt.Sprintf("    %s: {nat: %s%s}\n", p.Name, p.Name, addresses)
		hosts += fmt.Sprintf("    behind-%s: {behind: %[1]s}\n", p.Name)
	}
	n := stand(t, lab+hosts)
	var group sync.WaitGroup
	slots := make(chan struct{}, 4)
	for _, p := range presets {
		group.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			r, err := router(t, n, p.Name).Certify(t.Context())
			if err != nil || !r.OK() {
				t.Errorf("%s: %v\ndeclared %s\nmeasured %s\n%+v", p.Name, err, r.Declared, r.Measured, r.Findings)
			}
		})
	}
	group.Wait()
}
