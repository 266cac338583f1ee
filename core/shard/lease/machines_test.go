package lease

import (
	"testing"
	"time"
)

var (
	t0    = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	three = Terms{Members: 3, Grant: 2 * time.Second, Heartbeat: 500 * time.Millisecond}
)

func ms(n int) time.Time { return t0.Add(time.Duration(n) * time.Millisecond) }

// holding gives a holder with epoch 1 that has sent its first heartbeats at t0,
// with sequences 1 to 3 to the members 0 to 2.
func holding(t *testing.T) *Holder {
	t.Helper()
	h, err := NewHolder(three)
	if err != nil {
		t.Fatal(err)
	}
	if beats := h.Poll(t0); beats != nil || !h.Next().IsZero() {
		t.Fatalf("before it has an epoch it sends %v", beats)
	}
	h.Begin(1, t0)
	if beats := h.Poll(t0); len(beats) != 3 {
		t.Fatalf("the first heartbeats are %v", beats)
	}
	return h
}

func TestAMajorityGrants(t *testing.T) {
	h := holding(t)
	h.Granted(0, 1, ms(10))
	if h.Held(ms(10)) {
		t.Fatal("one of three members is enough")
	}
	h.Granted(2, 3, ms(900))
	if !h.Held(ms(900)) || h.Term() != 1 {
		t.Fatalf("two of three are not enough; term %d", h.Term())
	}
	// It counts from sending, by a clock that may be slow.
	if until := h.Until(); until.After(ms(2000)) || until.Before(ms(1970)) {
		t.Errorf("sent at 0, granted for 2 s: held until %v", until.Sub(t0))
	}
	if h.Held(ms(2000)) {
		t.Error("held after the grants have ended")
	}
}

func TestAnswersCountOnce(t *testing.T) {
	h := holding(t)
	h.Granted(0, 1, ms(1))
	h.Granted(1, 1, ms(1)) // another member's
	h.Granted(7, 2, ms(1)) // no member
	h.Granted(-1, 2, ms(1))
	h.Granted(1, 99, ms(1)) // never sent
	if h.Held(ms(1)) {
		t.Error("what was not asked counts as granted")
	}
}

func TestHeartbeatsAreDueAtTheirInterval(t *testing.T) {
	h := holding(t)
	if next := h.Next(); !next.Equal(ms(500)) {
		t.Errorf("next at %v", next.Sub(t0))
	}
	if beats := h.Poll(ms(499)); beats != nil {
		t.Errorf("too early: %v", beats)
	}
	if beats := h.Poll(ms(500)); len(beats) != 3 {
		t.Errorf("not at 500 ms: %v", beats)
	}
}

func TestALapseThatNobodyUsedEndsNoTerm(t *testing.T) {
	h := holding(t)
	h.Granted(0, 1, ms(1))
	h.Granted(1, 2, ms(1))
	h.Poll(ms(3000)) // 4 to 6
	if h.Held(ms(3000)) {
		t.Fatal("still held")
	}
	h.Granted(0, 4, ms(3001))
	h.Granted(1, 5, ms(3001))
	if !h.Held(ms(3001)) || h.Term() != 1 {
		t.Errorf("held %v in term %d", h.Held(ms(3001)), h.Term())
	}
}

func TestANewEpochInTimeKeepsTheTerm(t *testing.T) {
	h := holding(t)
	h.Granted(0, 1, ms(1))
	h.Granted(1, 2, ms(1))
	h.Refused(2, 3)
	if !h.Anew() {
		t.Fatal("a member refuses and nobody registers anew")
	}
	h.Begin(2, ms(100))
	if h.Anew() || len(h.Poll(ms(100))) != 3 { // 4 to 6
		t.Fatal("the new epoch is not asked for at once")
	}
	h.Granted(0, 4, ms(101))
	h.Granted(2, 6, ms(101))
	if until := h.Until(); h.Term() != 1 || !until.After(ms(2000)) {
		t.Errorf("term %d until %v", h.Term(), until.Sub(t0))
	}
	h.Begin(1, ms(102)) // late
	if h.Epoch() != 2 {
		t.Errorf("a late answer sets epoch %d", h.Epoch())
	}
}

func TestANewEpochAfterALapseIsANewTerm(t *testing.T) {
	h := holding(t)
	h.Granted(0, 1, ms(1))
	h.Granted(1, 2, ms(1))
	h.Begin(3, ms(2500))
	h.Poll(ms(2500)) // 4 to 6
	h.Granted(0, 4, ms(2501))
	h.Granted(1, 5, ms(2501))
	if !h.Held(ms(2501)) || h.Term() != 2 {
		t.Errorf("held %v in term %d", h.Held(ms(2501)), h.Term())
	}
}

func TestARefusalOfAnEarlierEpochIsOld(t *testing.T) {
	h := holding(t)
	h.Begin(2, ms(1))
	h.Refused(0, 1)
	if h.Anew() {
		t.Error("registers anew for the refusal of an epoch that it has left")
	}
}

func TestAMemberPromisesOnlyBetweenGrants(t *testing.T) {
	g := NewGranter(2*time.Second, t0)
	for _, step := range []struct {
		at, epoch int
		fence     bool
		ok        bool
		remaining int
	}{
		{at: 10, epoch: 5, fence: true, remaining: 1990}, // may have granted before it started
		{at: 500, epoch: 5, ok: true},
		{at: 2400, epoch: 5, fence: true, remaining: 100},
		{at: 2400, epoch: 4, fence: true, remaining: 100}, // a grant of any epoch counts
		{at: 2450, epoch: 4},                              // lower than what was granted
		{at: 2500, epoch: 5, fence: true, ok: true},
		{at: 2501, epoch: 5},
		{at: 2502, epoch: 6, ok: true},
		{at: 2503, epoch: 5, fence: true, remaining: 1999},
		{at: 4502, epoch: 5, fence: true, ok: true}, // 6 stays good
		{at: 4503, epoch: 6, ok: true},
	} {
		if step.fence {
			ok, remaining := g.Fence("s", uint64(step.epoch), ms(step.at))
			if ok != step.ok || remaining != time.Duration(step.remaining)*time.Millisecond {
				t.Errorf("%d ms: fence %d: %v, %v remain; wanted %v, %d ms", step.at, step.epoch, ok, remaining, step.ok, step.remaining)
			}
		} else if ok := g.Grant("s", uint64(step.epoch), ms(step.at)); ok != step.ok {
			t.Errorf("%d ms: grant %d: %v, wanted %v", step.at, step.epoch, ok, step.ok)
		}
	}
	if heard := g.Heard("s"); !heard.Equal(ms(4503)) {
		t.Errorf("heard at %v", heard.Sub(t0))
	}
	if !g.Heard("unknown").IsZero() {
		t.Error("heard of a shard that never called")
	}
}

func TestAMemberGrantsNothingFromBeforeItsStart(t *testing.T) {
	g := NewGranter(2*time.Second, t0)
	g.Recall("s", 7)
	if g.Grant("s", 7, ms(1)) || !g.Grant("s", 8, ms(1)) || !g.Grant("new", 1, ms(1)) {
		t.Error("7 is from before, 8 is not, nor is a new shard")
	}
}

func TestPromisesOfAMajority(t *testing.T) {
	f := NewFencer(three)
	f.Answer(0, true)
	f.Answer(0, true) // once more
	f.Answer(3, true) // no member
	f.Answer(1, false)
	f.Answer(1, true) // too late
	if f.Fenced() || f.Failed() {
		t.Fatal("one promise, one refusal: nothing is decided")
	}
	f.Answer(2, true)
	if !f.Fenced() {
		t.Error("two of three promised")
	}
	g := NewFencer(three)
	g.Answer(0, false)
	g.Answer(2, false)
	if g.Fenced() || !g.Failed() {
		t.Error("two of three refused")
	}
}

func TestTermsAreChecked(t *testing.T) {
	for _, bad := range []Terms{
		{0, time.Second, time.Millisecond}, {100, time.Second, time.Millisecond},
		{3, time.Second, 0}, {3, 999 * time.Millisecond, 500 * time.Millisecond},
	} {
		if _, err := NewHolder(bad); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
	for members, want := range map[int]int{1: 1, 2: 2, 3: 2, 4: 3, 5: 3} {
		if got := (Terms{Members: members}).Majority(); got != want {
			t.Errorf("the majority of %d is %d, not %d", members, want, got)
		}
	}
}
