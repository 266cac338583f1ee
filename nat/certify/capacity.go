package certify

import (
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"p2pmodel/nat"
)

const (
	// fillable is how many mappings are made at most to find a limit, and with
	// Options.All.
	fillable, fillableAll = 1024, 8192
	// beyond is how many more are tried than a NAT claims to have room for.
	beyond = 8
	// fillAtOnce is how many are under way at once: few, so that they are made in
	// the order in which they are asked for.
	fillAtOnce = 16
	// fillTime is how long a mapping has to live for all of them to be there at once.
	fillTime = 2 * time.Second
	// fillPatience is how often more mappings are tried where some are missing.
	fillPatience = 3
)

// bounds gives the axes that limit how many mappings one host gets, each with its
// number, the least last.
func (p *Probe) bounds() (axis nat.Axis, limit int) {
	d := p.cfg.Declared
	r := d.Resolved()
	axis, limit = nat.AxisSize, r.TableSize
	if ports := r.Range.Size() * p.shares(); ports < limit {
		axis, limit = nat.AxisRange, ports
	}
	if blocks := r.Block * p.shares(); r.Ports == nat.Block && blocks < limit {
		axis, limit = nat.AxisBlock, blocks
	}
	return axis, limit
}

// shares is of how many external addresses one host is given ports.
func (p *Probe) shares() int {
	if p.cfg.Declared.Pooling == nat.PoolArbitrary {
		return len(p.cfg.External)
	}
	return 1
}

// fill is what is known of a NAT in which as many mappings were made as it takes.
type fill struct {
	axis            nat.Axis
	limit, attempts int
	again           int       // how often more may be tried, where some are missing
	until           time.Time // when: the first mappings must live on
	made            []filled  // in order
}

type filled struct {
	owner    *socket
	external netip.AddrPort
}

// measureCapacity makes mappings until no more are given, where the NAT claims to
// give few: a table, a block of ports, or a range of them is used up then. It
// begins with an empty NAT and leaves one.
func (p *Probe) measureCapacity(now time.Time) {
	f := &fill{}
	f.axis, f.limit = p.bounds()
	most := fillable
	if p.cfg.All {
		most = fillableAll
	}
	r := p.cfg.Declared.Resolved()
	named := p.cfg.Declared.Get(f.axis) != (nat.Behavior{}).Get(f.axis) || f.axis == nat.AxisBlock
	// Preserved ports show the range by themselves.
	named = named && (f.axis != nat.AxisRange || !p.is(nat.AxisPorts, nat.Preserve.String()))
	// Who gives no blocks has none that could be used up.
	named = named && (f.axis != nat.AxisBlock || p.is(nat.AxisPorts, nat.Block.String()))
	lasting := min(r.Timeout, r.Stream) >= fillTime && (r.Rotate == 0 || r.Rotate >= fillTime)
	if !named || f.limit > most || !lasting || r.Kind != nat.KindRFC || len(p.samples) < portSamples {
		return
	}
	f.attempts = f.limit + beyond
	f.again = fillPatience
	p.reset(func(now time.Time, err error) {
		if err != nil {
			return // nobody can empty this NAT
		}
		f.until = now.Add(min(r.Timeout, r.Stream) / 2)
		p.phases = append([]func(now time.Time){
			func(now time.Time) { p.judgeCapacity(now, f) },
			func(time.Time) { p.reset(func(time.Time, error) {}) },
		}, p.phases...)
		for range fillAtOnce {
			p.fillOne(now, f)
		}
	})
}

// fillOne makes the next mapping, and others after it.
func (p *Probe) fillOne(now time.Time, f *fill) {
	if f.attempts == 0 {
		return
	}
	f.attempts--
	port := p.withParity(p.freshPort(), uint16(f.attempts%2)) // each parity has half of the ports
	p.open(true, netip.AddrPortFrom(p.cfg.Inside[0], port), func(now time.Time, s *socket) {
		if s == nil {
			f.attempts++
			p.fillOne(now, f)
			return
		}
		first := p.outside[0][0]
		p.reach(now, s, first.local, func(now time.Time, shot *shot) {
			if x, ok := p.outcome(shot, first); ok {
				f.made = append(f.made, filled{s, x})
			}
			p.fillOne(now, f)
		})
	})
}

// judgeCapacity concludes from how many mappings there were. Where as many were
// made as were tried, it looks whether the first ones paid for it.
func (p *Probe) judgeCapacity(now time.Time, f *fill) {
	if missing := f.limit - len(f.made); missing > 0 && f.again > 0 && now.Before(f.until) {
		// Who draws ports may miss the last free ones, and a busy machine loses packets.
		f.again--
		f.attempts = 2*missing + beyond
		p.phases = append([]func(now time.Time){func(now time.Time) { p.judgeCapacity(now, f) }}, p.phases...)
		for range fillAtOnce {
			p.fillOne(now, f)
		}
		return
	}
	if len(f.made) < f.limit+beyond {
		p.foundCapacity(f, len(f.made), nat.FullDrop)
		return
	}
	oldest := f.made[:min(3*beyond, len(f.made))]
	waiting, gone := len(oldest), 0
	for _, m := range oldest {
		p.try(now, p.outside[0][0], m.external, func(_ time.Time, shot *shot) {
			if !got(shot, m.owner) {
				gone++
			}
			if waiting--; waiting == 0 {
				p.foundCapacity(f, len(f.made)-gone, nat.FullEvict)
			}
		})
	}
}

func (p *Probe) foundCapacity(f *fill, count int, full nat.Full) {
	evidence := []string{fmt.Sprintf("of %d mappings that %s asked for one after the other, %d were there in the end", f.limit+beyond, p.cfg.Inside[0], count)}
	endless := count == f.limit+beyond
	measured := strconv.Itoa(count)
	switch {
	case f.axis == nat.AxisBlock && count%p.shares() == 0 && !endless:
		measured = strconv.Itoa(count / p.shares())
	case f.axis == nat.AxisRange:
		p.ranged = p.hull(f, count, endless)
		return
	case endless:
		measured = fmt.Sprintf(">%d", count-1)
	}
	p.find(f.axis, measured, evidence...)
	if f.axis == nat.AxisSize && !endless {
		p.find(nat.AxisFull, full.String(), evidence...)
	}
}

// hull is the range of ports that a NAT used up.
func (p *Probe) hull(f *fill, count int, endless bool) string {
	declared := p.cfg.Declared.Resolved().Range
	if endless || count == 0 {
		return ""
	}
	h := nat.PortRange{Low: f.made[0].external.Port(), High: f.made[0].external.Port()}
	for _, m := range f.made {
		h.Low, h.High = min(h.Low, m.external.Port()), max(h.High, m.external.Port())
	}
	if count == f.limit {
		return declared.String()
	}
	return h.String()
}

// PollReset reports whether the probe wants the NAT to lose its state, as by a
// reboot. The driver answers with HandleReset; one that cannot do it says so.
func (p *Probe) PollReset() bool { return p.resetting != nil }

// HandleReset answers PollReset.
func (p *Probe) HandleReset(now time.Time, err error) {
	if p.done || p.resetting == nil {
		return
	}
	then := p.resetting
	p.resetting = nil
	p.opening--
	then(now, err)
	p.advance(now)
}

func (p *Probe) reset(then func(now time.Time, err error)) {
	p.opening++
	p.resetting = then
}
