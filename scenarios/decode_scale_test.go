package scenarios

import (
	"fmt"
	"strings"
	"testing"
)

// A scale divides the times of NATs; what they cannot have then is said at the
// NAT, before anything is built.
func TestScaleOfNATs(t *testing.T) {
	const file = `id: X
title: x
lab:
  routers:
    home: {nat: %s}
    other: {nat: full-cone}
  hosts: {a: {behind: home}, b: {behind: other}, rendezvous: {}}
rendezvous: rendezvous
peers: {a: {host: a}, b: {host: b}}
connect: [[a, b]]
settings: {scale: %d}
phases:
  - name: one
    do: [{swap: {router: other, nat: "%s"}}]
    expect: {path: direct}
`
	for _, c := range []struct {
		home  string
		scale int
		swap  string
		want  string
	}{
		{"linux", 15, "linux", ""},
		{"linux", 1, "mikrotik", ""},
		{"aws-nat-gateway", 15, "full-cone", ""}, // to the millisecond
		{"linux", 20, "full-cone", "x.yaml:5:17: nat: divided by settings.scale, 20: timeout=1.5s does not go with kind=masquerade: the kernel's conntrack counts whole seconds"},
		{"full-cone", 15, "mikrotik", "x.yaml:14:38: nat: divided by settings.scale, 15: timeout=667ms does not go with kind=masquerade"},
		{"\"full-cone,timeout=1s\"", 100, "full-cone", `x.yaml:5:17: nat: divided by settings.scale, 100: timeout: "10ms" is not valid`},
	} {
		_, err := Parse("x.yaml", fmt.Appendf(nil, file, c.home, c.scale, c.swap))
		if got := fmt.Sprint(err); c.want == "" && err != nil || !strings.Contains(got, c.want) {
			t.Errorf("%s, scale %d, swap to %s: %v, want %q", c.home, c.scale, c.swap, err, c.want)
		}
	}
}
