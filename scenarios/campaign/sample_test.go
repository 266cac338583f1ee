package campaign

import (
	"testing"
	"time"

	"p2pmodel/nat/oracle"
)

// Which trials go on depends on their number alone, and there are no more of them in
// a large campaign. They go on to the end of a session.
func TestSamplesAreBounded(t *testing.T) {
	p := smallPopulation(t)
	d := newDice(p)
	sampled, last := 0, drawn{}
	for i := range uint64(2 * sampledUntil) {
		x := d.trial(1, i)
		if !x.sampled {
			continue
		}
		sampled, last = sampled+1, x
		if i%sampleEvery != 0 || i >= sampledUntil || len(x.players) != 2 {
			t.Fatalf("trial %d of %d players goes on", i, len(x.players))
		}
		if s := d.setting(x); s.Play != sampleTime || s.Play+s.Rest != min(p.Play.Session, longestSample) {
			t.Fatalf("trial %d plays for %v, and rests for %v of a session of %v", i, s.Play, s.Rest, p.Play.Session)
		}
	}
	if most := sampledUntil / sampleEvery; sampled > most || sampled < most/2 {
		t.Errorf("%d trials go on, want most of %d", sampled, most)
	}
	p.Play.Session = 24 * time.Hour
	if s := d.setting(last); s.Play+s.Rest != longestSample {
		t.Errorf("of a long session %v are played", s.Play+s.Rest)
	}
}

// A relayed pair looks for a direct path often at first: what it takes is that of a
// session, not of its first half minute.
func TestUpkeepIsThatOfASession(t *testing.T) {
	cellular, err := Find("cellular")
	if err != nil {
		t.Fatal(err)
	}
	const trials = 12 * sampleEvery / slower
	r, err := (&Campaign{Population: cellular, Trials: trials, Seed: 1}).Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l := r.Counts.loadOf(oracle.PathRelay).Sample
	if l.Trials == 0 || l.PlayedMS+l.RestedMS != l.Trials*uint64((20*time.Minute).Milliseconds()) {
		t.Fatalf("%+v", l)
	}
	// The registration, the allocation and consent on two paths are about one datagram
	// a second; checks of the search for a direct path come to it.
	if hour := l.UpkeepPackets * 3_600_000 / (l.PlayedMS + l.RestedMS) / 2; hour < 2500 || hour > 5000 {
		t.Errorf("%d packets an hour and player", hour)
	}
}
