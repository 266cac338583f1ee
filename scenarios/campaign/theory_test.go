package campaign

import (
	"math"
	"testing"
)

// The figures of the birthday search with 256 sockets among 64,512 ports.
func TestBirthday(t *testing.T) {
	for probes, want := range map[int]float64{0: 0, 174: 0.500, 256: 0.639, 512: 0.871, 1024: 0.9835, 2048: 0.9997, SearchPorts: 1} {
		if got := Birthday(SearchSockets, probes, SearchPorts); math.Abs(got-want) > 0.0006 {
			t.Errorf("%d probes: %.5f, want %.4f", probes, got, want)
		}
	}
}

// A small case, against all ways to draw.
func TestBirthdayAgainstCounting(t *testing.T) {
	// 2 open ports of 5, 2 probes: 1 − C(3,2)/C(5,2) = 0.7.
	if got := Birthday(2, 2, 5); math.Abs(got-0.7) > 1e-12 {
		t.Errorf("%v, want 0.7", got)
	}
}

// The formula of the published relay shares.
func TestFigures(t *testing.T) {
	want := map[string]float64{
		"relay-home-home": 0.0396, "relay-carrier-carrier": 0.2079, "relay-cellular-home": 0.412, "relay-cellular-cellular": 0.64,
		"ford-2005": 310.0 / 380, "dcutr-2025": 0.7,
	}
	for _, f := range Figures() {
		if w, ok := want[f.ID]; ok && math.Abs(f.Value-w) > 1e-9 {
			t.Errorf("%s is %v, want %v", f.ID, f.Value, w)
		}
		delete(want, f.ID)
		if f.Low > f.Value || f.High < f.Value || f.Source == "" || f.Evidence == "" {
			t.Errorf("%+v", f)
		}
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
}

// Each figure is held against what it is a share of.
func TestFindings(t *testing.T) {
	p := smallPopulation(t)
	r := run(t, Campaign{Population: p, Trials: 20_000, Seed: 1, stage: stageForetold})
	between := func(id string, low, high float64) {
		t.Helper()
		for _, f := range r.Report.Findings {
			if f.ID != id {
				continue
			}
			if f.Found.Share < low || f.Found.Share > high || f.Pairs == 0 {
				t.Errorf("%s: %+v, want %v to %v", id, f.Found, low, high)
			}
			return
		}
		t.Errorf("%s was not compared", id)
	}
	// Of two homes with UDP 0.9² are direct, and nothing with a phone.
	between("dcutr-2025", 0.2, 0.35)
	between("relay-cellular-home", 1, 1)
	for id, want := range map[string]float64{"halkes-2011": 0.6 * 0.9 * 0.9, "udp-unusable": 0.6 * 0.1} {
		f, err := p.find(&r.Counts, Comparison{Figure: id})
		if err != nil || math.Abs(f.Found.Share-want) > 1e-9 || f.Pairs != 0 {
			t.Errorf("%s: %v, %+v, want %v", id, err, f.Found, want)
		}
	}
}

// What the relay takes is measured apart: until the path is decided, of payload while
// that is dense, and of everything else over a session.
func TestRelayCost(t *testing.T) {
	p := smallPopulation(t)
	r := run(t, Campaign{Population: p, Trials: 20_000, Seed: 1, stage: stageForetold}).Report
	if math.Abs(r.Relay.PairRate-10_020) > 1e-6 || math.Abs(r.Relay.IdleRate-20) > 1e-6 || math.Abs(r.Relay.Setup-500) > 1e-6 {
		t.Errorf("%+v", r.Relay)
	}
	hours, sessions := 10.0, 60.0
	want := 1000 * ((r.Relay.Relayed*10_000+20/2)*hours*3600 + r.Relay.Paths*sessions*500) / 1e9
	if math.Abs(r.Relay.GB-want) > 1e-9 || math.Abs(r.Relay.Price-want/10) > 1e-9 {
		t.Errorf("%v GB for %v, want %v", r.Relay.GB, r.Relay.Price, want)
	}
	// 90 % pairs with half a path a player, 10 % rooms of three with one.
	if paths := (0.9*1 + 0.1*3) / (0.9*2 + 0.1*3); math.Abs(r.Relay.Paths-paths) > 1e-9 {
		t.Errorf("%v paths a player, want %v", r.Relay.Paths, paths)
	}
	for _, u := range r.Upkeep {
		if u.Packets != 3600 || u.Bytes != 360_000 {
			t.Errorf("%+v", u)
		}
	}
}
