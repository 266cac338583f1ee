package sweep

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"p2pmodel/nat"
	"p2pmodel/scenarios/grid"
	"p2pmodel/sim/kernel"
)

func TestMain(m *testing.M) {
	kernel.Init()
	goleak.VerifyTestMain(m)
}

func behavior(t *testing.T, text string) nat.Behavior {
	t.Helper()
	b, err := nat.ParseBehavior(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestPredict: what the model says of who comes first.
func TestPredict(t *testing.T) {
	const rtt = 100 * time.Millisecond
	const cone, symmetric = "port-restricted-cone", "symmetric"
	const drops, accepts = "kind=masquerade,early-inbound=drop", "kind=masquerade,early-inbound=accept"
	for _, c := range []struct {
		name, a, b string
		offset     time.Duration
		probes     int
		want       bool
	}{
		{"both at once", cone, cone, 0, 1, true},
		{"the second one late: its own probe opens the way for the answer", cone, cone, rtt, 1, true},
		{"Linux that drops does not care", cone, drops, rtt, 1, true},
		{"Linux that accepts, and speaks first", cone, accepts, -rtt, 2, true},
		{"Linux that accepts, and speaks while the peer's probe is under way", cone, accepts, rtt / 4, 2, true},
		{"Linux that accepts, and is spoken to first", cone, accepts, rtt, 2, false},
		{"the same, however often it tries", cone, accepts, rtt, 10, false},
		{"the same before a cone that does not filter", "full-cone", accepts, rtt, 2, true},
		{"two symmetric ones", symmetric, symmetric, 0, 3, false},
	} {
		got, err := predict(behavior(t, c.a), behavior(t, c.b), rtt, c.offset, gap*rtt, c.probes, 1)
		if err != nil || got != c.want {
			t.Errorf("%s: direct %v, %v; want %v", c.name, got, err, c.want)
		}
	}
}

func TestASweepOnTheKernel(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to make network namespaces: run `sudo make test`")
	}
	cone, full := behavior(t, "port-restricted-cone"), behavior(t, "full-cone")
	s := &Sweep{
		Pairs:  [][2]grid.Side{{{Name: "cone", Behavior: cone}, {Name: "full", Behavior: full}}},
		RTT:    60 * time.Millisecond,
		Steps:  5,
		Trials: 2, Probes: 1, Seed: 1, Fabric: kernel.Fabric{},
	}
	told := 0
	s.Done = func(int, Point) { told++ }
	res, err := s.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !res.OK() || told != 5 || len(res.Series) != 1 || len(res.Series[0].Points) != 5 {
		t.Fatalf("%d points told; %+v", told, res)
	}
	for i, p := range res.Series[0].Points {
		if want := -60 + 30*float64(i); p.OffsetMS != want || p.Trials != 2 || p.ActualMS < want-6 || p.ActualMS > want+6 {
			t.Errorf("point %d: %+v, want an offset of %v ms", i, p, want)
		}
	}
	var page, csv, text bytes.Buffer
	if err := res.HTML(&page); err != nil {
		t.Fatal(err)
	}
	if err := res.WriteCSV(&csv); err != nil {
		t.Fatal(err)
	}
	text.WriteString(res.Text())
	if n := strings.Count(page.String(), "<circle"); n != 5 {
		t.Errorf("the page plots %d points", n)
	}
	if n := strings.Count(csv.String(), "\n"); n != 6 {
		t.Errorf("the CSV has %d lines", n)
	}
	if !strings.Contains(text.String(), "cone ↔ full  █████  10 of 10 direct") {
		t.Errorf("the text is\n%s", text.String())
	}
}

func TestAPointThatIsNotAsExpected(t *testing.T) {
	for _, c := range []struct {
		p  Point
		ok bool
	}{
		{Point{Trials: 3, Direct: 3, Expected: true, Sharp: true}, true},
		{Point{Trials: 3, Direct: 2, Expected: true, Sharp: true}, false},
		{Point{Trials: 3, Direct: 1, Expected: false, Sharp: true}, false},
		{Point{Trials: 3, Direct: 1, Expected: false}, true},
	} {
		if c.p.OK() != c.ok {
			t.Errorf("%+v: %v", c.p, c.p.OK())
		}
	}
}
