package trial

import (
	"reflect"
	"testing"
	"time"

	"p2pmodel/nat"
	"p2pmodel/nat/oracle"
	"p2pmodel/sim/link"
)

const ms = time.Millisecond

var portRestricted = nat.Behavior{Filtering: nat.AddressAndPortDependent}

// at is a player behind NATs, the inner first, on a line of 20 ms.
func at(chain ...nat.Behavior) Player {
	p := Player{Up: link.Impairment{Delay: 20 * ms}, Down: link.Impairment{Delay: 20 * ms}}
	for _, b := range chain {
		p.Chain = append(p.Chain, Node{NAT: &b})
	}
	return p
}

func run(t testing.TB, s Setting, seed uint64) Outcome {
	t.Helper()
	tr, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	o, err := tr.Run(seed)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestPair(t *testing.T) {
	o := run(t, Setting{Players: []Player{at(portRestricted), at(portRestricted)}}, 1)
	t.Logf("%+v", o)
	p := o.Pairs[0]
	if p.Path != oracle.PathDirect || p.Direct <= 0 || p.Direct > time.Second {
		t.Errorf("%+v", p)
	}
	if again := run(t, Setting{Players: []Player{at(portRestricted), at(portRestricted)}}, 1); !reflect.DeepEqual(o, again) {
		t.Errorf("the same trial once more: %+v, was %+v", again, o)
	}
}
