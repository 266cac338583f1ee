package field_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"p2pmodel/core/shard/field"
)

// start is an arbitrary time.
var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func at(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }

// pair is two players who know of each other. Their clocks have other zeros.
func pair(t *testing.T) (ann, bob *field.Field) {
	t.Helper()
	ann = field.New(start.Add(-time.Hour), "ann", 1, field.Position{X: 100, Y: 100})
	bob = field.New(start, "bob", 2, field.Position{X: 200, Y: 200})
	ann.Join("bob")
	bob.Join("ann")
	return ann, bob
}

func receive(t *testing.T, f *field.Field, now time.Time, from string, payload []byte) {
	t.Helper()
	if err := f.Receive(now, from, payload); err != nil {
		t.Fatalf("at %v from %s: %v", now.Sub(start), from, err)
	}
}

func other(t *testing.T, f *field.Field, now time.Time) field.Figure {
	t.Helper()
	others := f.Others(now)
	if len(others) != 1 {
		t.Fatalf("%d others, want 1: %v", len(others), others)
	}
	return others[0]
}

func TestPlayersMoveAndStopAtWalls(t *testing.T) {
	for _, c := range []struct {
		name      string
		from      field.Position
		direction field.Direction
		ticks     int
		want      field.Position
		wall      bool
	}{
		{"still", field.Position{X: 5, Y: 5}, field.Still, 3, field.Position{X: 5, Y: 5}, false},
		{"right", field.Position{X: 5, Y: 5}, field.Right, 3, field.Position{X: 5 + 3*field.Step, Y: 5}, false},
		{"up is less Y", field.Position{X: 5, Y: 50}, field.Up, 1, field.Position{X: 5, Y: 50 - field.Step}, false},
		{"aslant", field.Position{X: 50, Y: 50}, field.DownLeft, 2, field.Position{X: 50 - 2*field.Step, Y: 50 + 2*field.Step}, false},
		{"left wall", field.Position{X: 5, Y: 5}, field.Left, 1, field.Position{X: 0, Y: 5}, true},
		{"along a wall", field.Position{X: 0, Y: 50}, field.UpLeft, 1, field.Position{X: 0, Y: 50 - field.Step}, true},
		{"corner", field.Position{X: field.Width - 1, Y: field.Height - 1}, field.DownRight, 5, field.Position{X: field.Width - 1, Y: field.Height - 1}, true},
		{"begun off the field", field.Position{X: -7, Y: field.Height + 9}, field.Still, 1, field.Position{X: 0, Y: field.Height - 1}, false},
	} {
		f := field.New(start, "ann", 0, c.from)
		f.Steer(c.direction)
		wall := false
		for range c.ticks {
			wall = f.Tick()
		}
		if got := f.Own().At; got != c.want || wall != c.wall {
			t.Errorf("%s: at %v, wall %v; want %v, %v", c.name, got, wall, c.want, c.wall)
		}
	}
}

func TestADatagramCarriesAPlayer(t *testing.T) {
	ann, bob := pair(t)
	ann.Steer(field.Right)
	ann.Tick()
	payload := ann.Datagram(nil, at(0), "bob")
	if len(payload) != field.Size || field.Size > 64 {
		t.Fatalf("%d bytes, want %d, at most 64", len(payload), field.Size)
	}
	if got := other(t, bob, at(0)); got.State != field.Gone {
		t.Errorf("before anything was heard: %+v, want gone", got)
	}
	receive(t, bob, at(30), "ann", payload)
	want := field.Figure{Player: "ann", At: field.Position{X: 100 + field.Step, Y: 100}, Direction: field.Right, Colour: 1, State: field.Fresh}
	if got := other(t, bob, at(30)); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if b := ann.Datagram(nil, at(0), "carl"); len(b) != 0 {
		t.Errorf("%d bytes for one who has not joined", len(b))
	}
	receive(t, bob, at(30), "carl", payload)
	other(t, bob, at(30)) // one who has not joined is dropped
}

func TestFiguresGlideFromTickToTick(t *testing.T) {
	ann, bob := pair(t)
	ann.Steer(field.Right)
	receive(t, bob, at(0), "ann", ann.Datagram(nil, at(0), "bob")) // at 100
	ann.Tick()
	receive(t, bob, at(50), "ann", ann.Datagram(nil, at(50), "bob")) // at 112
	for _, c := range []struct{ ms, x int }{{50, 100}, {75, 106}, {100, 112}, {500, 112}} {
		if got := other(t, bob, at(c.ms)).At.X; got != c.x {
			t.Errorf("at %d ms: x %d, want %d", c.ms, got, c.x)
		}
	}
	for range 10 {
		ann.Tick()
	}
	// Ten ticks at once: shown in two, from where it was seen.
	receive(t, bob, at(550), "ann", ann.Datagram(nil, at(550), "bob"))
	for _, c := range []struct{ ms, x int }{{550, 112}, {600, 172}, {650, 232}} {
		if got := other(t, bob, at(c.ms)).At.X; got != c.x {
			t.Errorf("after a loss, at %d ms: x %d, want %d", c.ms, got, c.x)
		}
	}
}

func TestSilentPlayersFadeAndGo(t *testing.T) {
	ann, bob := pair(t)
	receive(t, bob, at(0), "ann", ann.Datagram(nil, at(0), "bob"))
	for _, c := range []struct {
		ms   int
		want field.State
	}{{0, field.Fresh}, {999, field.Fresh}, {1000, field.Fading}, {4999, field.Fading}, {5000, field.Gone}} {
		if got := other(t, bob, at(c.ms)).State; got != c.want {
			t.Errorf("after %d ms: %v, want %v", c.ms, got, c.want)
		}
	}
	ann.Steer(field.Down)
	ann.Tick()
	receive(t, bob, at(6000), "ann", ann.Datagram(nil, at(6000), "bob"))
	if got := other(t, bob, at(6000)); got.State != field.Fresh || got.At.Y != 100+field.Step {
		t.Errorf("when it is back: %+v, want fresh, and at once where it says", got)
	}
	l, _ := bob.Link(at(6100), "ann")
	if l.Gap != 6*time.Second || l.Silence != 100*time.Millisecond {
		t.Errorf("gap %v, silence %v; want 6s, 100ms", l.Gap, l.Silence)
	}
	bob.Leave("ann")
	if n := len(bob.Others(at(6100))); n != 0 {
		t.Errorf("%d others after it left", n)
	}
}

func TestLateDatagramsMoveNobody(t *testing.T) {
	ann, bob := pair(t)
	ann.Steer(field.Right)
	var sent [][]byte
	for i := range 4 {
		ann.Tick()
		sent = append(sent, ann.Datagram(nil, at(50*i), "bob"))
	}
	for i, n := range []int{0, 3, 1, 1} { // 2 is lost, 1 late and then doubled
		receive(t, bob, at(200+i), "ann", sent[n])
	}
	if got, want := other(t, bob, at(400)).At.X, 100+4*field.Step; got != want {
		t.Errorf("x %d, want %d", got, want)
	}
	l, _ := bob.Link(at(204), "ann")
	if l.Received != 3 || l.Late != 1 || l.Lost != 1 || l.Loss != 0.25 {
		t.Errorf("%+v; want 3 received, 1 late, 1 lost of 4", l)
	}
}

func TestTheEchoMeasuresTheRoundTrip(t *testing.T) {
	ann, bob := pair(t)
	// 40 ms to bob, who holds it for 25 ms, 60 ms back.
	receive(t, bob, at(40), "ann", ann.Datagram(nil, at(0), "bob"))
	if l, _ := bob.Link(at(40), "ann"); l.RTT != 0 {
		t.Errorf("a round trip of %v before an echo came", l.RTT)
	}
	receive(t, ann, at(125), "bob", bob.Datagram(nil, at(65), "ann"))
	if l, _ := ann.Link(at(125), "bob"); l.RTT != 100*time.Millisecond {
		t.Errorf("round trip %v, want 100ms", l.RTT)
	}
	// An eighth of the change, by RFC 6298.
	receive(t, bob, at(190), "ann", ann.Datagram(nil, at(150), "bob"))
	receive(t, ann, at(170+160), "bob", bob.Datagram(nil, at(190), "ann"))
	if l, _ := ann.Link(at(330), "bob"); l.RTT != 110*time.Millisecond {
		t.Errorf("round trip %v, want 100ms + (180-100)/8 ms", l.RTT)
	}
}

func TestEchoesOfNothingAreNotBelieved(t *testing.T) {
	for name, d := range map[string]field.Datagram{
		"from the future":    {Echo: 1 << 62},
		"of the highest":     {Echo: 1<<64 - 1},
		"held for too long":  {Echo: 3_600_000_000, Held: time.Hour},
		"from long ago":      {Echo: 1},
		"none, but held":     {Held: time.Second},
		"wrapped to nothing": {Echo: 1 << 63},
	} {
		ann, _ := pair(t)
		d.Sequence, d.SentAt = 1, 1
		receive(t, ann, at(100), "bob", d.Append(nil))
		if l, _ := ann.Link(at(100), "bob"); l.RTT != 0 {
			t.Errorf("%s: round trip %v", name, l.RTT)
		}
	}
}

func TestLossIsOfTheLastDatagrams(t *testing.T) {
	ann, bob := pair(t)
	now := 0
	send := func(n int, lost func(i int) bool) {
		for i := range n {
			now += 50
			if b := ann.Datagram(nil, at(now), "bob"); !lost(i) {
				receive(t, bob, at(now), "ann", b)
			}
		}
	}
	loss := func() float64 { l, _ := bob.Link(at(now), "ann"); return l.Loss }
	send(field.LossWindow, func(i int) bool { return i%4 == 1 })
	if got := loss(); got != 0.25 {
		t.Errorf("every fourth lost: %v", got)
	}
	send(field.LossWindow, func(int) bool { return false })
	if got := loss(); got != 0 {
		t.Errorf("after a window without loss: %v", got)
	}
	now += 50 * field.LossWindow / 2
	if got := loss(); got != 0.5 {
		t.Errorf("after half a window of silence: %v", got)
	}
	now += 50 * 5 * field.LossWindow
	if got := loss(); got != 1 {
		t.Errorf("after a long silence: %v", got)
	}
	send(1, func(int) bool { return false })
	l, _ := bob.Link(at(now), "ann")
	if want := uint64(field.LossWindow / 4); l.Lost != want {
		t.Errorf("lost %d in all, want %d: nothing was sent in the silence", l.Lost, want)
	}
}

func TestAPlayerWhoComesBackIsHeard(t *testing.T) {
	for name, joined := range map[string]bool{"joined anew": true, "after a silence": false} {
		ann, bob := pair(t)
		for i := range 300 {
			receive(t, bob, at(50*i), "ann", ann.Datagram(nil, at(50*i), "bob"))
		}
		back := field.New(at(16_000), "ann", 3, field.Position{X: 9, Y: 9})
		back.Join("bob")
		if joined {
			bob.Join("ann")
		}
		for i := range 120 {
			now := at(16_000 + 50*i)
			receive(t, bob, now, "ann", back.Datagram(nil, now, "bob"))
		}
		if got := other(t, bob, at(22_000)); got.State != field.Fresh || got.At != (field.Position{X: 9, Y: 9}) {
			t.Errorf("%s: %+v", name, got)
		}
		// Bob's own numbers went on, and the one who came back hears them.
		receive(t, back, at(22_010), "bob", bob.Datagram(nil, at(22_010), "ann"))
		if got := other(t, back, at(22_010)); got.State != field.Fresh {
			t.Errorf("%s: bob is %v to the one who came back", name, got.State)
		}
	}
}

// TestEqualInputsGiveEqualFields plays a match of five over a bad network, twice.
func TestEqualInputsGiveEqualFields(t *testing.T) {
	play := func() (history string) {
		dice := rand.New(rand.NewPCG(1, 2))
		var fields []*field.Field
		name := func(i int) string { return fmt.Sprintf("p%d", i) }
		for i := range 5 {
			f := field.New(start, name(i), uint8(i), field.Position{X: dice.IntN(field.Width), Y: dice.IntN(field.Height)})
			for j := range 5 {
				f.Join(name(j))
			}
			fields = append(fields, f)
		}
		for tick := range 400 {
			now := start.Add(time.Duration(tick) * field.TickInterval)
			for i, f := range fields {
				if dice.IntN(20) == 0 {
					f.Steer(field.Direction(dice.IntN(9)))
				}
				f.Tick()
				for j, to := range fields {
					if b := f.Datagram(nil, now, name(j)); len(b) > 0 && dice.IntN(10) > 0 {
						receive(t, to, now.Add(time.Duration(dice.IntN(40))*time.Millisecond), name(i), b)
					}
				}
			}
		}
		end := start.Add(400 * field.TickInterval)
		for i, f := range fields { // one more, which all get
			for j, to := range fields {
				if i != j {
					receive(t, to, end, name(i), f.Datagram(nil, end, name(j)))
				}
			}
		}
		for i, f := range fields {
			for _, o := range f.Others(end.Add(time.Second / 2)) {
				l, _ := f.Link(end, o.Player)
				history += fmt.Sprintf("%d %+v %+v\n", i, o, l)
				own := fields[o.Player[1]-'0'].Own()
				if o != own {
					t.Errorf("%s sees %+v, which is %+v", name(i), o, own)
				}
				if l.RTT < 0 || l.RTT > 80*time.Millisecond || l.Loss < 0.02 || l.Loss > 0.25 {
					t.Errorf("%s measures %+v of %s, want a round trip up to 80 ms and a tenth of loss", name(i), l, o.Player)
				}
			}
			history += fmt.Sprintf("%+v\n", f.Own())
		}
		return history
	}
	if a, b := play(), play(); a != b {
		t.Errorf("two runs differ:\n%s\n%s", a, b)
	}
}

func TestMalformedDatagrams(t *testing.T) {
	good := field.Datagram{Sequence: 1, At: field.Position{X: 1, Y: 2}}.Append(nil)
	change := func(i int, b ...byte) []byte {
		bad := append([]byte(nil), good...)
		copy(bad[i:], b)
		return bad
	}
	for name, c := range map[string]struct {
		payload []byte
		want    error
	}{
		"nothing":           {nil, field.ErrMalformed},
		"one byte":          {good[:1], field.ErrMalformed},
		"another magic":     {change(0, 'G'), field.ErrMalformed},
		"a later version":   {change(1, 2), field.ErrVersion},
		"cut":               {good[:field.Size-1], field.ErrMalformed},
		"a byte too many":   {append(change(0, 'F'), 0), field.ErrMalformed},
		"an odd direction":  {change(2, 9), field.ErrMalformed},
		"an odd colour":     {change(3, field.Colours), field.ErrMalformed},
		"no sequence":       {change(4, 0, 0, 0, 0), field.ErrMalformed},
		"off to the right":  {change(12, 0x06, 0x40), field.ErrMalformed},
		"off to the bottom": {change(14, 0x03, 0x20), field.ErrMalformed},
	} {
		ann, _ := pair(t)
		if err := ann.Receive(at(0), "bob", c.payload); !errors.Is(err, c.want) {
			t.Errorf("%s: error %v, want %v", name, err, c.want)
		}
		if got := other(t, ann, at(0)); got.State != field.Gone {
			t.Errorf("%s: it was believed: %+v", name, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(field.Datagram{Sequence: 1}.Append(nil))
	f.Add(field.Datagram{
		Sequence: 1<<32 - 1, Tick: 7, At: field.Position{X: field.Width - 1, Y: field.Height - 1}, Direction: field.UpLeft,
		Colour: field.Colours - 1, SentAt: 1<<64 - 1, Echo: 1<<64 - 1, Held: time.Hour,
	}.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := field.Parse(b)
		if err != nil {
			return
		}
		if again := d.Append(nil); string(again) != string(b) {
			t.Errorf("%x reads as %+v, which is written as %x", b, d, again)
		}
	})
}

// FuzzReceive feeds any datagrams in a row, 37 bytes each: one of how long to
// wait, and the datagram.
func FuzzReceive(f *testing.F) {
	var row []byte
	for i := range 3 {
		row = field.Datagram{Sequence: uint32(1 + 70*i), Tick: uint32(i), SentAt: 5, Echo: 5}.Append(append(row, byte(60*i)))
	}
	f.Add(row)
	f.Fuzz(func(t *testing.T, b []byte) {
		fld := field.New(start, "ann", 0, field.Position{})
		fld.Join("bob")
		now := start
		for ; len(b) > field.Size; b = b[1+field.Size:] {
			now = now.Add(time.Duration(b[0]) * 100 * time.Millisecond)
			_ = fld.Receive(now, "bob", b[1:1+field.Size])
			l, _ := fld.Link(now, "bob")
			if l.Loss < 0 || l.Loss > 1 || l.RTT < 0 || l.RTT > time.Minute || l.Silence < 0 || l.Gap < l.Silence || l.Late > l.Received {
				t.Fatalf("impossible: %+v", l)
			}
			for _, o := range fld.Others(now.Add(20 * time.Millisecond)) {
				if o.At.X < 0 || o.At.X >= field.Width || o.At.Y < 0 || o.At.Y >= field.Height {
					t.Fatalf("off the field: %+v", o)
				}
			}
		}
	})
}
