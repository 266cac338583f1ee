package play

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
)

// BotOptions are of many players in one process.
type BotOptions struct {
	Options
	// Bots is how many, each with a connection of its own. They log in one after
	// another, spread over Ramp.
	Bots int
	Ramp time.Duration
	// RoomSize is how many share a room, where no room is given.
	RoomSize int
	// Tick: they are ready, so that matches start, and then play: each has a peer
	// and sends twenty datagrams a second to each other one. Otherwise they are
	// in rooms and wait.
	Tick bool
	// Rate is how many requests (GetRoom) a second all of them together make in
	// addition to what they need, once all are in their rooms.
	Rate float64
	// Every is the time between lines that tell how it goes; 0: 5 s.
	Every time.Duration
	// Table gets the summary; nil: nobody. Report gets it as JSON.
	Table  io.Writer
	Report io.Writer
}

// Bots runs bots until ctx ends, or the duration after all have entered. Its error
// says that bots could not log in or enter, or that their sessions ended.
func Bots(ctx context.Context, o *BotOptions) error {
	if o.Every == 0 {
		o.Every = 5 * time.Second
	}
	before := resident()
	b := &bots{o: o, p: &printer{json: o.JSON, out: o.Out}, measures: newMeasures(), all: make([]*bot, o.Bots), begun: time.Now(), leaving: make(chan struct{}, leaveAtOnce)}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	b.cancel = cancel
	for i := range b.all {
		b.all[i] = &bot{number: i, entered: make(chan struct{})}
	}
	// Bots live longer than ctx: by the summary, which is of what was before all
	// of them left, and by their farewell.
	live, leave := context.WithCancel(context.WithoutCancel(ctx))
	defer leave()
	end, hurry := context.WithCancel(context.WithoutCancel(ctx))
	defer hurry()
	var working sync.WaitGroup
	for i := range b.all {
		working.Go(func() { b.run(live, end, i) })
	}
	working.Go(func() { b.watch(ctx) })
	working.Go(func() { b.load(ctx) })
	<-ctx.Done()
	summary := b.summary(before)
	defer time.AfterFunc(farewell+time.Duration(o.Bots)*leaveEach, hurry).Stop()
	leave()
	working.Wait()
	b.addFarewell(summary)
	var err error
	if o.Table != nil {
		err = summary.table(o.Table)
	}
	if o.Report != nil {
		err = errors.Join(err, summary.json(o.Report))
	}
	b.p.record(time.Now(), "summary", attr{"summary", summary})
	return errors.Join(err, b.verdict())
}

// leaveAtOnce is how many bots log out at once: servers get through all of them
// faster than if all did.
const leaveAtOnce = 64

// leaveEach is what each bot adds to the time for all farewells; 2,000 take 3 s on
// two processors, which servers share.
const leaveEach = 5 * time.Millisecond

// bots are all of them.
type bots struct {
	o        *BotOptions
	p        *printer
	measures *measures
	cancel   context.CancelFunc
	begun    time.Time
	all      []*bot

	loggedIn, inRooms, lost atomic.Int64
	leaving                 chan struct{} // places of those who log out
	mu                      sync.Mutex
	errs                    map[string]int // why bots could not go on, and how many
}

// bot is one of them.
type bot struct {
	number  int
	session atomic.Pointer[session]
	room    string
	entered chan struct{} // closed when it is in its room, or cannot be
}

// run is a bot's life; it says farewell until end ends.
func (b *bots) run(ctx, end context.Context, i int) {
	me := b.all[i]
	defer func() {
		select {
		case <-me.entered:
		default:
			close(me.entered)
		}
	}()
	if !sleep(ctx, time.Duration(i)*b.o.Ramp/time.Duration(len(b.all))) {
		return
	}
	o := b.o.Options
	o.Ready = b.o.Tick
	s, err := open(ctx, &o, i, uint64(i)+1, b.measures, nil)
	if err != nil {
		b.failed(ctx, me, err)
		return
	}
	me.session.Store(s)
	b.loggedIn.Add(1)
	defer func() {
		b.leaving <- struct{}{}
		defer func() { <-b.leaving }()
		b.measures.farewell(func() error { return s.stop(end) })
	}()
	if err := b.enter(ctx, me, s); err != nil {
		b.failed(ctx, me, err)
		return
	}
	b.inRooms.Add(1)
	close(me.entered)
	var ticking <-chan struct{}
	if b.o.Tick {
		ticking = s.tick(ctx)
	}
	select {
	case <-ctx.Done():
	case <-s.ended:
		b.lost.Add(1)
		b.failed(ctx, me, fmt.Errorf("a session ended: %w", s.err))
	}
	if ticking != nil {
		<-ctx.Done()
		<-ticking
	}
}

// tries is how often a bot tries to enter a room while servers are too busy for it.
const tries = 5

// enter takes a bot to its room.
func (b *bots) enter(ctx context.Context, me *bot, s *session) error {
	for try := 1; ; try++ {
		err := b.enterOnce(ctx, me, s)
		if err == nil || try == tries || !busy(err) || !sleep(ctx, time.Duration(try)*500*time.Millisecond) {
			return err
		}
	}
}

// busy reports whether a request may succeed later.
func busy(err error) bool {
	switch kind(err) {
	case connect.CodeUnavailable.String(), connect.CodeResourceExhausted.String(), connect.CodeDeadlineExceeded.String():
		return true
	}
	return false
}

// enterOnce tries it: the first bot of each group makes the room.
func (b *bots) enterOnce(ctx context.Context, me *bot, s *session) error {
	size := b.o.RoomSize
	first := b.all[me.number/size*size]
	switch {
	case b.o.Room != "" || b.o.Quick:
		return s.enter(ctx, &b.o.Options)
	case first == me && me.room != "":
		return s.setReady(ctx) // the room was made, and then something was busy
	case first == me:
		settings := proto.CloneOf(b.o.Settings)
		settings.Title = fmt.Sprintf("%s %d", settings.Title, me.number/size+1)
		// A room of bots starts when all of them are there; the last one may
		// stand alone.
		settings.MinPlayers = uint32(max(2, min(size, len(b.all)-me.number)))
		room, err := s.player.CreateRoom(ctx, settings)
		if err != nil {
			return fmt.Errorf("create a room: %w", err)
		}
		me.room = room.Id
		return s.setReady(ctx)
	}
	select {
	case <-first.entered:
	case <-ctx.Done():
		return ctx.Err()
	}
	if first.room == "" {
		return errors.New("the bot that was to make the room could not")
	}
	me.room = first.room
	return s.join(ctx, first.room)
}

// failed notes why a bot cannot go on.
func (b *bots) failed(ctx context.Context, me *bot, err error) {
	if ctx.Err() != nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.errs == nil {
		b.errs = map[string]int{}
	}
	text := err.Error()
	if me.room != "" {
		text = strings.ReplaceAll(text, me.room, "…")
	}
	if len(b.errs) < 20 || b.errs[text] > 0 {
		b.errs[text]++
	}
}

// verdict is an error if a bot could not go on.
func (b *bots) verdict() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var errs []error
	for text, n := range b.errs {
		errs = append(errs, fmt.Errorf("%d bots: %s", n, text))
	}
	return errors.Join(errs...)
}

// watch tells how it goes, and ends it all when the time is over.
func (b *bots) watch(ctx context.Context) {
	ticker := time.NewTicker(b.o.Every)
	defer ticker.Stop()
	var over <-chan time.Time
	entered := make(chan struct{})
	go func() {
		defer close(entered)
		for _, me := range b.all {
			select {
			case <-me.entered:
			case <-ctx.Done():
				return
			}
		}
	}()
	defer func() { <-entered }()
	everybody := entered
	for {
		select {
		case <-everybody:
			everybody = nil
			if ctx.Err() == nil {
				b.progress()
			}
			if b.o.Duration > 0 {
				over = time.After(b.o.Duration)
			}
		case <-over:
			b.cancel()
			return
		case <-ticker.C:
			b.progress()
		case <-ctx.Done():
			return
		}
	}
}

func (b *bots) progress() {
	now := time.Now()
	playing := 0
	for _, me := range b.all {
		if s := me.session.Load(); s != nil && s.game.playing() {
			playing++
		}
	}
	in, rooms, failures := b.loggedIn.Load(), b.inRooms.Load(), b.measures.failed()
	b.p.line(now, fmt.Sprintf("%d of %d bots logged in, %d in rooms, %d playing, %d requests failed", in, len(b.all), rooms, playing, failures))
	b.p.record(now, "progress", attr{"bots", len(b.all)}, attr{"logged_in", in}, attr{"in_rooms", rooms}, attr{"playing", playing}, attr{"failed", failures})
}

// load makes requests at a rate, whatever the answers take: each at the time that
// it was due, which is also what its latency counts from.
func (b *bots) load(ctx context.Context) {
	if b.o.Rate <= 0 {
		return
	}
	for _, me := range b.all {
		select {
		case <-me.entered:
		case <-ctx.Done():
			return
		}
	}
	var asking sync.WaitGroup
	defer asking.Wait()
	interval := time.Duration(float64(time.Second) / b.o.Rate)
	places := make(chan struct{}, 4096) // more than that at once is a failure too
	at := time.Now()
	for n := 0; ; n++ {
		if at = at.Add(interval); !sleep(ctx, time.Until(at)) {
			return
		}
		s := b.all[n%len(b.all)].session.Load()
		if s == nil {
			continue
		}
		room := s.game.roomID()
		if room == "" {
			continue
		}
		select {
		case places <- struct{}{}:
		default:
			b.measures.done("load", 0, errTooMany)
			continue
		}
		due := at
		asking.Go(func() {
			defer func() { <-places }()
			_, err := s.agent.Client.GetRoom(ctx, room)
			if ctx.Err() == nil {
				b.measures.done("load", time.Since(due), err)
			}
		})
	}
}

var errTooMany = errors.New("4096 requests are waiting already")

// sleep waits, and reports whether ctx is still alive.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// resident is how much memory the process has, in bytes.
func resident() uint64 {
	if text, err := os.ReadFile("/proc/self/statm"); err == nil {
		if fields := strings.Fields(string(text)); len(fields) > 1 {
			if pages, err := strconv.ParseUint(fields[1], 10, 64); err == nil {
				return pages * uint64(os.Getpagesize())
			}
		}
	}
	var m runtime.MemStats // not Linux: what Go has from the system
	runtime.ReadMemStats(&m)
	return m.Sys - m.HeapReleased
}
