package lease

import (
	"container/heap"
	"fmt"
	"strings"
	"time"
)

// world is a model of shards' processes, members, fencing directories, register
// and network, in which anything may happen that the package's comment allows. It
// draws what happens from dice, and says what went wrong.
type world struct {
	dice    func(n int) int // 0 to n-1
	terms   Terms
	defects defects

	now    time.Duration // real time; nobody sees it
	events events
	serial int

	register struct {
		epoch    uint64
		revision int
		owner    int // process, -1: dead
	}
	procs   []*process
	members []*member
	// cut[i][j]: members and processes i and j cannot reach each other; directories
	// are at their members.
	cut map[[2]int]bool
	// taken is the highest epoch that was taken over.
	taken     uint64
	takeovers int
	heldTime  time.Duration
	log       []string
	broken    string
}

// defects are mistakes that the model has to notice, so that we know it can.
type defects struct {
	noGuard, noRecall, noDrift, grantsWhatItPromised, blindWrite, fromReceipt, minority bool
}

type process struct {
	id     int
	clock  clock
	holder *Holder
	// lost is the term in which it was taken over.
	lost        uint64
	registering bool
	dead        bool
}

type member struct {
	clock   clock
	granter *Granter
	up      bool
	starts  int
}

// clock runs at a rate of its own, between 1 and 1+Drift times real time.
type clock struct {
	offset time.Duration
	rate   float64
}

func (c clock) at(real time.Duration) time.Time {
	return time.Unix(0, 0).Add(c.offset + time.Duration(float64(real)*c.rate))
}

type event struct {
	at     time.Duration
	serial int
	do     func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].serial < e[j].serial
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	old := *e
	last := old[len(old)-1]
	*e = old[:len(old)-1]
	return last
}

func newWorld(dice func(int) int, d defects) *world {
	w := &world{dice: dice, defects: d, cut: map[[2]int]bool{}}
	w.terms = Terms{Members: []int{1, 3, 3, 5, 2}[dice(5)], Grant: DefaultGrant, Heartbeat: DefaultHeartbeat}
	w.register.owner = -1
	for range w.terms.Members {
		m := &member{clock: w.clock()}
		w.members = append(w.members, m)
		m.granter, m.up = NewGranter(w.terms.Grant, m.clock.at(-time.Hour)), true
	}
	return w
}

func (w *world) clock() clock {
	rate := 1.0
	if w.defects.noDrift {
		rate += 20 * Drift * float64(w.dice(3)) / 2
	} else {
		rate += Drift * float64(w.dice(3)) / 2
	}
	return clock{time.Duration(w.dice(1000)) * time.Hour, rate}
}

func (w *world) note(format string, args ...any) {
	w.log = append(w.log, fmt.Sprintf("%8v ", w.now.Round(time.Millisecond))+fmt.Sprintf(format, args...))
}

func (w *world) after(d time.Duration, do func()) {
	w.serial++
	heap.Push(&w.events, event{w.now + d, w.serial, do})
}

// run lets the world go on for a time, and gives what went wrong, or nothing.
func (w *world) run(length time.Duration) string {
	w.spawn()
	for step := time.Duration(0); step < length; step += 250 * time.Millisecond {
		w.after(step, w.mischief)
	}
	for len(w.events) > 0 && w.broken == "" {
		e := heap.Pop(&w.events).(event)
		if e.at > length {
			break
		}
		held := w.anyHeld()
		if held {
			w.heldTime += e.at - w.now
		}
		w.now = e.at
		e.do()
		w.check()
	}
	if w.broken == "" {
		return ""
	}
	return w.broken + "\n" + strings.Join(w.log[max(0, len(w.log)-60):], "\n")
}

func (w *world) anyHeld() bool {
	for _, p := range w.procs {
		if p.held(w.now) {
			return true
		}
	}
	return false
}

func (p *process) held(now time.Duration) bool { return !p.dead && p.holder.Held(p.clock.at(now)) }

// check is the specification.
func (w *world) check() {
	holders := 0
	for _, p := range w.procs {
		if !p.held(w.now) {
			continue
		}
		holders++
		if p.holder.Epoch() <= w.taken {
			w.broken = fmt.Sprintf("at %v process %d holds epoch %d although up to %d was taken over", w.now, p.id, p.holder.Epoch(), w.taken)
		}
		if p.lost != 0 && p.holder.Term() <= p.lost {
			w.broken = fmt.Sprintf("at %v process %d goes on with term %d, in which it was taken over", w.now, p.id, p.holder.Term())
		}
	}
	if holders > 1 {
		w.broken = fmt.Sprintf("at %v %d processes hold the lease", w.now, holders)
	}
}

// mischief is one thing that happens from outside.
func (w *world) mischief() {
	n := len(w.members)
	switch w.dice(12) {
	case 0: // a member restarts
		w.restart(w.dice(n))
	case 1, 2: // a link or a node is cut
		a, b := w.dice(n+len(w.procs)), w.dice(n+len(w.procs))
		w.cut[[2]int{a, b}], w.cut[[2]int{b, a}] = true, true
		w.note("cut %d from %d", a, b)
	case 3: // a process is cut off from many
		p := n + w.dice(len(w.procs))
		for i := range n {
			if w.dice(3) > 0 {
				w.cut[[2]int{p, i}], w.cut[[2]int{i, p}] = true, true
			}
		}
		w.note("cut off process %d", p-n)
	case 4, 5:
		w.cut = map[[2]int]bool{}
		w.note("healed")
	case 6: // another process of the shard
		if len(w.procs) < 4 {
			w.spawn()
		}
	case 7:
		p := w.procs[w.dice(len(w.procs))]
		if w.dice(3) == 0 {
			p.dead = true
			w.note("process %d dies", p.id)
		}
	default:
		w.fence(w.dice(n), func() {})
	}
}

// send carries a message, late, perhaps twice or never.
func (w *world) send(from, to int, deliver func()) {
	if w.dice(20) == 0 {
		return
	}
	for range 1 + w.dice(10)/9 {
		var delay time.Duration
		switch w.dice(8) {
		case 0:
			delay = time.Duration(w.dice(3000)) * time.Millisecond
		default:
			delay = time.Duration(w.dice(20)) * time.Millisecond
		}
		w.after(delay, func() {
			if !w.cut[[2]int{from, to}] {
				deliver()
			}
		})
	}
}

// spawn starts a process of the shard.
func (w *world) spawn() {
	h, err := NewHolder(w.terms)
	if err != nil {
		panic(err)
	}
	if w.defects.minority {
		h.terms.Members = 1
	}
	p := &process{id: len(w.procs), clock: w.clock(), holder: h}
	w.procs = append(w.procs, p)
	w.note("process %d starts", p.id)
	var tick func()
	tick = func() {
		if p.dead {
			return
		}
		if (p.holder.Epoch() == 0 || p.holder.Anew()) && !p.registering {
			w.registerAnew(p)
		}
		w.beat(p)
		w.after(time.Duration(50+w.dice(100))*time.Millisecond, tick)
	}
	tick()
}

func (w *world) beat(p *process) {
	self := len(w.members) + p.id
	for _, b := range p.holder.Poll(p.clock.at(w.now)) {
		w.send(self, b.Member, func() {
			m := w.members[b.Member]
			if !m.up {
				return
			}
			granted := m.granter.Grant("s", b.Epoch, m.clock.at(w.now))
			w.send(b.Member, self, func() {
				if p.dead {
					return
				}
				if w.defects.fromReceipt {
					for i := range p.holder.members[b.Member].sent {
						p.holder.members[b.Member].sent[i].at = p.clock.at(w.now)
					}
				}
				before := p.held(w.now)
				if granted {
					p.holder.Granted(b.Member, b.Sequence, p.clock.at(w.now))
				} else {
					p.holder.Refused(b.Member, b.Sequence)
				}
				if after := p.held(w.now); after != before {
					w.note("process %d holds epoch %d in term %d", p.id, p.holder.Epoch(), p.holder.Term())
				}
			})
		})
	}
}

// registerAnew asks some directory for the next epoch.
func (w *world) registerAnew(p *process) {
	p.registering = true
	self, via := len(w.members)+p.id, w.dice(len(w.members))
	w.after(500*time.Millisecond, func() { p.registering = false })
	done := func() {
		epoch := w.register.epoch
		w.note("process %d registered epoch %d", p.id, epoch)
		w.send(via, self, func() {
			p.holder.Begin(epoch, p.clock.at(w.now))
			p.registering = false
		})
	}
	w.send(self, via, func() {
		if !w.members[via].up {
			return
		}
		take := func() {
			w.register.epoch++
			w.register.revision++
			w.register.owner = p.id
			done()
		}
		if w.register.owner == p.id || w.register.owner == -1 {
			take()
			return
		}
		w.fence(via, take)
	})
}

// fence is an attempt of a directory to take over; then is called when it has.
func (w *world) fence(from int, then func()) {
	if !w.members[from].up || w.register.owner == -1 {
		return
	}
	epoch, revision := w.register.epoch, w.register.revision
	terms := w.terms
	if w.defects.minority {
		terms.Members = 1
	}
	f, asked := NewFencer(terms), w.members[from].starts
	finished := false
	for i, m := range w.members {
		w.send(from, i, func() {
			if !m.up {
				return
			}
			promised, _ := m.granter.Fence("s", epoch, m.clock.at(w.now))
			if w.defects.grantsWhatItPromised {
				m.granter.of("s").floor = 0
			}
			w.send(i, from, func() {
				f.Answer(i, promised)
				if finished || !f.Fenced() || w.members[from].starts != asked {
					return
				}
				finished = true
				w.after(time.Duration(w.dice(50)*w.dice(50))*time.Millisecond, func() { w.takeOver(epoch, revision, then) })
			})
		})
	}
}

// takeOver is the write with compare-and-set.
func (w *world) takeOver(epoch uint64, revision int, then func()) {
	if w.register.revision != revision && !w.defects.blindWrite {
		return
	}
	w.note("epoch %d of process %d is taken over", epoch, w.register.owner)
	for _, p := range w.procs {
		p.lost = p.holder.Term()
	}
	w.taken = max(w.taken, epoch)
	w.takeovers++
	w.register.owner = -1
	w.register.epoch++
	w.register.revision++
	then()
}

func (w *world) restart(i int) {
	m := w.members[i]
	m.up = false
	m.starts++
	starts := m.starts
	w.note("member %d restarts", i)
	w.after(time.Duration(w.dice(1500))*time.Millisecond, func() {
		if m.starts != starts {
			return
		}
		start := m.clock.at(w.now)
		if w.defects.noGuard {
			start = start.Add(-w.terms.Grant)
		}
		m.granter = NewGranter(w.terms.Grant, start)
		w.after(time.Duration(w.dice(100))*time.Millisecond, func() {
			if m.starts != starts {
				return
			}
			if !w.defects.noRecall {
				m.granter.Recall("s", w.register.epoch)
			}
			m.up = true
		})
	})
}
