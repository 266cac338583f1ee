package witness_test

import (
	"testing"
	"time"

	"p2pmodel/sim/witness"
)

// deliveries makes one delivery for each letter, 10 ms apart, from a to b (upper
// case) or from b to a (lower case): D direct, R relay, L lost. Each takes 5 ms.
func deliveries(letters string) []witness.Delivery {
	var all []witness.Delivery
	for i, r := range letters {
		d := witness.Delivery{From: "a", To: "b", Path: witness.Direct, Copies: 1, Sent: start.Add(time.Duration(i) * 10 * ms), Digest: witness.Digest{byte(i), byte(i >> 8), 1}}
		if r >= 'a' {
			d.From, d.To = "b", "a"
			r -= 'a' - 'A'
		}
		switch r {
		case ' ':
			continue
		case 'R':
			d.Path = witness.Relay
		case 'L':
			d.Copies = 0
		}
		if d.Copies > 0 {
			d.Arrived = d.Sent.Add(5 * ms)
		}
		all = append(all, d)
	}
	return all
}

func TestObservedPath(t *testing.T) {
	for _, c := range []struct {
		name, letters string
		since         time.Duration
		n             int
		want          witness.Path
	}{
		{"nothing was sent", "", 0, 20, witness.None},
		{"all direct", "DdDdDdDd", 0, 20, witness.Direct},
		{"all over the relay", "RrRrRr", 0, 20, witness.Relay},
		{"one strays", "DdDdDdRd", 0, 20, witness.Mixed},
		{"the way differs by direction", "DrDrDrDr", 0, 20, witness.Mixed},
		{"relay first, then direct, within the window", "RrRrDdDd", 0, 20, witness.Mixed},
		{"relay first, then direct, past the window", "RrRrDdDdDd", 0, 6, witness.Direct},
		{"before since does not count", "RrRrDdDd", 40 * ms, 20, witness.Direct},
		{"losses take no path", "DlLdDLlDdd", 0, 20, witness.Direct},
		{"the path died", "DdDdLlLlLl", 0, 6, witness.None},
		{"one way only", "DlDlDlDl", 0, 20, witness.Mixed},
		{"only one side spoke", "DDDDD", 0, 20, witness.Direct},
		{"nothing since", "DdDdDd", time.Second, 20, witness.None},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := deliveries(c.letters)
			if got := witness.ObservedPath(d, start.Add(c.since), c.n); got != c.want {
				t.Errorf("path %v, want %v (%v)", got, c.want, witness.Tally(d, start.Add(c.since), c.n))
			}
		})
	}
}

func TestFirstAndEver(t *testing.T) {
	d := deliveries("LRrLDd")
	if got, ok := witness.FirstByte(d); !ok || line(got) != "a→b 10ms relay +5ms" {
		t.Errorf("first byte: %v", got)
	}
	if got, ok := witness.FirstDirect(d); !ok || line(got) != "a→b 40ms direct +5ms" {
		t.Errorf("first direct: %v", got)
	}
	if got, ok := witness.EverDirect(d, start, start.Add(40*ms)); ok {
		t.Errorf("direct before the first direct: %v", got)
	}
	if _, ok := witness.EverDirect(d, start, time.Time{}); !ok {
		t.Error("never direct")
	}
	if _, ok := witness.FirstByte(deliveries("LLL")); ok {
		t.Error("a first byte where all were lost")
	}
}

func TestTallyReads(t *testing.T) {
	if got, want := witness.Tally(deliveries("DdRlL"), start, 0).String(), "a → b: 1 direct, 1 relay, 1 lost; b → a: 1 direct, 0 relay, 1 lost"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := witness.Tally(nil, start, 0).String(), "no payload was sent"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestGaps(t *testing.T) {
	for _, c := range []struct {
		name    string
		letters string // one each 10 ms; the change is at 52 ms
		until   time.Duration
		want    string
	}{
		{"nothing happened", "DDDDDDDDDD", time.Second, "a → b: silent for 10ms, recovered 3ms after the change, 0 lost, 0 duplicates"},
		{"six lost", "DDDDDLLLLLLDDD", time.Second, "a → b: silent for 70ms, recovered 63ms after the change, 6 lost, 0 duplicates"},
		{"nobody spoke", "DDDDD      DDD", time.Second, "a → b: silent for 70ms, recovered 63ms after the change, 0 lost, 0 duplicates"},
		{"never recovered", "DDDDDLLLLL", time.Second, "a → b: silent for 45ms, not recovered, 5 lost, 0 duplicates"},
		{"recovered after until", "DDDDDLLLLLDDD", 95 * ms, "a → b: silent for 45ms, not recovered, 5 lost, 0 duplicates"},
		{"the longest of two", "DDDDDLDLLLDDD", time.Second, "a → b: silent for 40ms, recovered 53ms after the change, 4 lost, 0 duplicates"},
		{"begins with the change", "      LLDDD", time.Second, "a → b: silent for 33ms, recovered 33ms after the change, 2 lost, 0 duplicates"},
	} {
		t.Run(c.name, func(t *testing.T) {
			gaps := witness.Gaps(deliveries(c.letters), start.Add(52*ms), start.Add(c.until))
			if len(gaps) != 1 || gaps[0].String() != c.want {
				t.Errorf("%v, want %s", gaps, c.want)
			}
		})
	}
}

// What the machine kept from speaking or answering is no silence of the network; and
// it hides none.
func TestGapsWithoutWhatStoodStill(t *testing.T) {
	for _, c := range []struct {
		name    string
		letters string // one each 10 ms; the change is at 52 ms
		stood   []time.Duration
		want    string
	}{
		{"the speaker stood still", "DDDDD      DDD", []time.Duration{50 * ms, 110 * ms}, "a → b: silent for 70ms (60ms of it stood still), recovered 63ms after the change, 0 lost, 0 duplicates"},
		{"for a part of it, in pieces that overlap", "DDDDD      DDD", []time.Duration{80 * ms, 90 * ms, 60 * ms, 85 * ms}, "a → b: silent for 70ms (30ms of it stood still), recovered 63ms after the change, 0 lost, 0 duplicates"},
		{"at another time", "DDDDDLLLLLLDDDDD", []time.Duration{120 * ms, 160 * ms}, "a → b: silent for 70ms, recovered 63ms after the change, 6 lost, 0 duplicates"},
		{"longer than what was lost elsewhere", "DDDDD      DDLLLDD", []time.Duration{50 * ms, 110 * ms}, "a → b: silent for 40ms, recovered 113ms after the change, 3 lost, 0 duplicates"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var stood []witness.Span
			for i := 0; i < len(c.stood); i += 2 {
				stood = append(stood, witness.Span{Begin: start.Add(c.stood[i]), End: start.Add(c.stood[i+1])})
			}
			gaps := witness.Gaps(deliveries(c.letters), start.Add(52*ms), start.Add(time.Second), stood...)
			if len(gaps) != 1 || gaps[0].String() != c.want {
				t.Errorf("%v, want %s", gaps, c.want)
			}
		})
	}
}

func TestGapsCountDuplicates(t *testing.T) {
	d := deliveries("DDDDDDDdddd")
	d[5].Copies = 3                              // doubled twice by the network
	d[6].Digest, d[6].Repeat = d[5].Digest, true // sent again though it had arrived
	d[0].Copies = 2                              // before the change: not its doing
	d[9].Digest, d[9].Repeat = d[8].Digest, true // the other direction: sent again,
	d[8].Arrived, d[8].Copies = time.Time{}, 0   // for the first was lost
	gaps := witness.Gaps(d, start.Add(41*ms), start.Add(time.Second))
	if len(gaps) != 2 || gaps[0].Duplicates != 3 || gaps[1].Duplicates != 0 || gaps[1].Lost != 1 {
		t.Errorf("%v, want 3 duplicates from a to b, and one lost from b to a", gaps)
	}
}
