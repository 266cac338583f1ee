package sim

import (
	"errors"
	"reflect"
	"testing"

	"p2pmodel/sim/document"
)

// FuzzParseLab: whatever the file, nothing panics, errors have places, and a lab
// that is read without error can be planned and written and read again.
func FuzzParseLab(f *testing.F) {
	f.Add([]byte(example))
	f.Add([]byte(zones))
	f.Add([]byte(walls))
	f.Add([]byte("lab: {}"))
	f.Add([]byte("lab:\n  routers: {a: {behind: b}, b: {behind: a}}\n  hosts: {c: {uplinks: {x: {behind: a}}}}\n  links: {c/x: {up: {loss: 2%}}}\n"))
	f.Add([]byte("lab: {hosts: {a: , b: {addresses: 16}}, links: {a: {delay: 1s, rate: 1.5Mbit}}}"))
	f.Add([]byte("lab:\n  routers:\n    a: {nat: {preset: symmetric, ports: block, block: 64, parity: keep, rotate: 1m30s, stream: 10s, size: 1000}, addresses: 2}\n    b: {nat: 'kind=masquerade,early-inbound=accept,timeout=30s', firewall: {preset: captive-portal, reject: both, tcp-reject: reset}, behind: a}\n  hosts:\n    c: {behind: b, firewall: 'stateful,udp=3478+443,other=none'}\n    d: {uplinks: {wifi: {behind: a}, 4g: {}}, active: 4g}\n  links:\n    c: {profile: 4g, loss: 2%}\n    d/4g: {up: {delay: 30ms, jitter: 5ms, jitter-correlation: 25%, distribution: normal, reorder: true, wander: {delay: 20ms, every: 15s}, overtake: {share: 5%, gap: 5}, burst: {p: 1%, r: 30%, bad: 70%, good: 0.1%}, duplicate: 1%, corrupt: 0.5%, rate: 1.5Mbit, queue: 64000, mtu: {size: 1280, icmp: false}}, down: {trace: testdata/lte.trace, mtu: 576}}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		lab, err := ParseLab("f", data)
		if err != nil {
			var all document.Errors
			if !errors.As(err, &all) || len(all) == 0 || all[0].Line < 1 || all[0].Column < 1 {
				t.Fatalf("the error has no place: %v", err)
			}
			return
		}
		if _, err := lab.Plan(); err != nil {
			t.Fatalf("%v\nin:\n%s", err, lab.YAML())
		}
		again, err := ParseLab("f", lab.YAML())
		if err != nil || !reflect.DeepEqual(lab, again) {
			t.Fatalf("%v\nwrote:\n%s", err, lab.YAML())
		}
	})
}
