//go:build linux

package ruleset

import (
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"p2pmodel/nat"
)

// FuzzDecodeRule feeds the reader of the kernel's rules. The corpus has rules as
// a kernel gave them.
func FuzzDecodeRule(f *testing.F) {
	for _, s := range build(mustResolve(f)).steps {
		if s.kind == unix.NFT_MSG_NEWRULE {
			f.Add(append([]byte{2, 0, 0, 0}, s.payload...))
		}
	}
	tracked := mustResolve(f)
	tracked.Behavior.Kind, tracked.Behavior.Range, tracked.Behavior.TableSize = nat.KindMasqueradeRandom, nat.PortRange{Low: 1, High: 2}, 3
	for _, s := range build(tracked).steps {
		if s.kind == unix.NFT_MSG_NEWRULE {
			f.Add(append([]byte{2, 0, 0, 0}, s.payload...))
		}
	}
	sets := map[string]*nftables.Set{"udp_out": {KeyType: endpoints(4), DataType: endpoints(2), IsMap: true}}
	f.Fuzz(func(t *testing.T, message []byte) {
		r, err := decodeRule(2, message)
		if err == nil {
			statements(r, sets)
		}
	})
}

// FuzzSplitKey feeds the reader of set elements.
func FuzzSplitKey(f *testing.F) {
	f.Add([]byte{198, 18, 0, 1, 0x9c, 0x40, 0, 0, 198, 18, 0, 10, 0x0d, 0x96, 0, 0})
	f.Add([]byte{198, 18, 0, 1})
	f.Fuzz(func(t *testing.T, key []byte) {
		first, second := splitKey(key)
		if second.IsValid() && !first.IsValid() {
			t.Errorf("%x: the second side without the first", key)
		}
		value(endpoints(4), key)
	})
}

func mustResolve(t testing.TB) Config {
	t.Helper()
	cfg, err := Config{Behavior: nat.Behavior{Filtering: nat.AddressDependent}, Outside: "wan", External: pooled}.resolved()
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// What the builder encodes, the reader reads.
func TestDecodeRule(t *testing.T) {
	tx := newTransaction("x")
	tx.rule("c", strings.Repeat("long comment ", 18), match(ipProtocol, 17), &expr.Notrack{}, drop(CauseProtocol))
	s := tx.steps[len(tx.steps)-1]
	r, err := decodeRule(2, append([]byte{2, 0, 0, 0}, s.payload...))
	if err != nil {
		t.Fatal(err)
	}
	if want := "ip protocol == udp; notrack; counter 0 packets 0 bytes; drop"; statements(r, nil) != want {
		t.Errorf("got %q, want %q", statements(r, nil), want)
	}
	if want := strings.Repeat("long comment ", 18); r.comment != want || r.chain != "c" {
		t.Errorf("chain %q, comment %q", r.chain, r.comment)
	}
}
