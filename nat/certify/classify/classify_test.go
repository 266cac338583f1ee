package classify_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/nat"
	"p2pmodel/nat/certify/classify"
)

// TestAllBehavioursAreTold: what can be told from behind is what the NAT is.
func TestAllBehavioursAreTold(t *testing.T) {
	for m := nat.EndpointIndependent; m <= nat.AddressAndPortDependent; m++ {
		for f := nat.EndpointIndependent; f <= nat.AddressAndPortDependent; f++ {
			for p := nat.Preserve; p <= nat.Random; p++ {
				for h := nat.HairpinNone; h <= nat.HairpinExternal; h++ {
					b := nat.Behavior{Mapping: m, Filtering: f, Ports: p, Hairpin: h}
					w := newWorld(t, b.String(), 1)
					r := w.run(t, w.config())
					if !r.Complete() {
						t.Fatalf("%s: incomplete: %+v, %v", b, r, r.Err)
					}
					for _, found := range r.Findings {
						if want := b.Get(found.Axis); found.Measured != want {
							t.Errorf("%s: %s is told as %s: %s", b, found.Axis, found.Measured, strings.Join(found.Evidence, "; "))
						}
					}
					if h == nat.HairpinExternal && (m == nat.EndpointIndependent || f == nat.EndpointIndependent) && r.Measured(nat.AxisHairpin) == "" {
						t.Errorf("%s: hairpin was not told", b)
					}
					if p == nat.Sequential && r.Measured(nat.AxisDelta) != "1" {
						t.Errorf("%s: delta was told as %q", b, r.Measured(nat.AxisDelta))
					}
				}
			}
		}
	}
}

func TestClassicNames(t *testing.T) {
	for _, c := range []struct{ behavior, want string }{
		{"full-cone", "full cone"},
		{"restricted-cone", "restricted cone"},
		{"port-restricted-cone", "port-restricted cone"},
		{"symmetric", "symmetric"},
		{"mapping=ADM,filtering=EIF", "none of RFC 3489's four; symmetric is the nearest"},
		{"", "open: no NAT, no filter"},
	} {
		w := newWorld(t, c.behavior, 1)
		if r := w.run(t, w.config()); r.Classic != c.want {
			t.Errorf("%q is called %q, want %q: %+v", c.behavior, r.Classic, c.want, r)
		}
	}
}

func TestPoolingShowsWhereAddressesDiffer(t *testing.T) {
	for behavior, want := range map[string]string{"port-restricted,pooling=arbitrary": "arbitrary", "port-restricted-cone": ""} {
		w := newWorld(t, behavior, 2)
		if r := w.run(t, w.config()); r.Measured(nat.AxisPooling) != want {
			t.Errorf("%s: pooling is told as %q, want %q", behavior, r.Measured(nat.AxisPooling), want)
		}
	}
}

func TestLifetimeIsFound(t *testing.T) {
	for _, c := range []struct {
		behavior string
		lifetime time.Duration
		want     time.Duration // 0: not told
	}{
		{"port-restricted-cone,timeout=2s", 10 * time.Second, 2 * time.Second},
		{"full-cone,timeout=30s", 10 * time.Minute, 30 * time.Second},
		{"symmetric,timeout=5m,refresh=both", 10 * time.Minute, 5 * time.Minute},
		{"restricted-cone,timeout=75s,ports=random", 2 * time.Minute, 75 * time.Second},
		{"port-restricted-cone,timeout=10m", time.Minute, 0},
		{"full-cone,timeout=30s,pooling=arbitrary", time.Minute, 0},
	} {
		w := newWorld(t, c.behavior, 2)
		cfg := w.config()
		cfg.Lifetime = c.lifetime
		r := w.run(t, cfg)
		if c.want == 0 {
			if got := r.Measured(nat.AxisTimeout); got != "" {
				t.Errorf("%s: the lifetime is told as %s", c.behavior, got)
			}
			continue
		}
		got, err := time.ParseDuration(r.Measured(nat.AxisTimeout))
		if err != nil || (got-c.want).Abs() > max(c.want/50, 50*time.Millisecond) {
			t.Errorf("%s: the lifetime is told as %v, want %v: %+v", c.behavior, got, c.want, r)
		}
		if took := w.now.Sub(epoch); took > 4*c.want+time.Minute {
			t.Errorf("%s took %v", c.behavior, took)
		}
	}
}

func TestLossDoesNotFalsify(t *testing.T) {
	for _, behavior := range []string{"full-cone,hairpin=external", "restricted-cone", "symmetric", "mapping=ADM,filtering=ADF,ports=random"} {
		b, _ := nat.ParseBehavior(behavior)
		for seed := range 20 {
			w := newWorld(t, behavior, 1)
			w.loss = 0.02
			for range seed {
				w.rand.Uint64()
			}
			r := w.run(t, w.config())
			for _, axis := range []nat.Axis{nat.AxisMapping, nat.AxisFiltering, nat.AxisPorts} {
				if got := r.Measured(axis); got != b.Get(axis) {
					t.Errorf("%s, run %d: %s is told as %q", behavior, seed, axis, got)
				}
			}
		}
	}
}

// What a server lacks is said, and nothing is made up.
func TestServersThatCannot(t *testing.T) {
	for _, c := range []struct {
		name   string
		server server
		err    error
		untold map[nat.Axis]string
	}{
		{name: "dead", server: server{dead: true}, err: classify.ErrUnreachable},
		{name: "refuses", server: server{refuses: pion.CodeUnauthorized}, err: errRefused},
		{name: "one address", server: server{single: true}, untold: map[nat.Axis]string{
			nat.AxisMapping: "OTHER-ADDRESS", nat.AxisFiltering: "OTHER-ADDRESS"}},
		{name: "ignores CHANGE-REQUEST", server: server{ignoresChange: true}, untold: map[nat.Axis]string{
			nat.AxisFiltering: "does not honour CHANGE-REQUEST"}},
		{name: "other address is dead", server: server{halfDead: true}, untold: map[nat.Axis]string{
			nat.AxisMapping: "does not answer at 203.0.113.2:3478"}},
		{name: "refuses RESPONSE-PORT", server: server{refusesPort: true}, untold: map[nat.Axis]string{
			nat.AxisTimeout: "RESPONSE-PORT"}},
	} {
		w := newWorld(t, "full-cone,timeout=2s", 1)
		w.server = c.server
		cfg := w.config()
		cfg.Lifetime = 10 * time.Second
		r := w.run(t, cfg)
		if c.err != nil {
			if r.Err == nil || c.err != errRefused && !errors.Is(r.Err, c.err) || !strings.Contains(r.Err.Error(), "203.0.113.1:3478") {
				t.Errorf("%s: error %v, want %v", c.name, r.Err, c.err)
			}
			continue
		}
		if r.Err != nil || r.Measured(nat.AxisPorts) != "preserve" {
			t.Errorf("%s: %v, ports %q: what can be told is not", c.name, r.Err, r.Measured(nat.AxisPorts))
		}
		for axis, want := range c.untold {
			if why := why(r, axis); r.Measured(axis) != "" || !strings.Contains(why, want) {
				t.Errorf("%s: %s is %q, untold because %q, want %q", c.name, axis, r.Measured(axis), why, want)
			}
		}
	}
}

var errRefused = errors.New("refused")

func why(r classify.Result, axis nat.Axis) string {
	for _, u := range r.Untold {
		if u.Axis == axis {
			return u.Why
		}
	}
	return ""
}

func TestResultAsJSON(t *testing.T) {
	w := newWorld(t, "symmetric", 1)
	text, err := json.Marshal(w.run(t, w.config()))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"server":"203.0.113.1:3478"`, `"behavior":"mapping=APDM,filtering=APDF,ports=sequential,delta=1,parity=ignore"`, `"classic":"symmetric"`, `"axis":"mapping"`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
}

func TestNewSaysWhatIsWrong(t *testing.T) {
	for _, c := range []struct {
		change func(c *classify.Config)
		want   string
	}{
		{func(c *classify.Config) { c.Server = netip.AddrPort{} }, "no address and port"},
		{func(c *classify.Config) { c.Local = netip.MustParseAddr("::1") }, "only IPv4"},
		{func(c *classify.Config) { c.Rand = nil }, "Rand"},
		{func(c *classify.Config) { c.Lifetime = 2 * time.Hour }, "not up to 2h0m0s"},
	} {
		cfg := newWorld(t, "", 1).config()
		c.change(&cfg)
		if _, err := classify.New(cfg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("New says %v, want %q in it", err, c.want)
		}
	}
}

// FuzzDatagrams: nothing that a network brings breaks it.
func FuzzDatagrams(f *testing.F) {
	f.Add([]byte{})
	f.Add(pion.MustBuild(pion.TransactionID, pion.BindingRequest).Raw)
	f.Add(pion.MustBuild(pion.TransactionID, pion.BindingSuccess, &pion.XORMappedAddress{IP: local.AsSlice(), Port: 5}).Raw)
	f.Fuzz(func(t *testing.T, input []byte) {
		payload := slices.Clone(input)
		w := newWorld(t, "", 1)
		m, err := classify.New(w.config())
		if err != nil {
			t.Fatal(err)
		}
		m.Start(epoch)
		if _, ok := m.PollOpen(); !ok {
			t.Fatal("it opens no socket")
		}
		m.HandleOpened(epoch, 0, netip.AddrPortFrom(local, 5000), nil)
		s, ok := m.PollSend()
		if !ok {
			t.Fatal("it asks nothing")
		}
		m.HandleDatagram(epoch, 0, s.To, payload)
		// The same as an answer to what was asked.
		if len(payload) >= 20 {
			copy(payload[8:20], s.Payload[8:20])
			m.HandleDatagram(epoch, 0, s.To, payload)
		}
		if r, done := m.Result(); done && r.Err == nil {
			t.Fatalf("one datagram told everything: %s", fmt.Sprint(r))
		}
	})
}
