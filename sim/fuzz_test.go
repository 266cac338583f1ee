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
