//go:build linux

package differential_test

import (
	"time"

	"pgregory.net/rapid"

	"p2pmodel/nat"
	"p2pmodel/nat/table"
	"p2pmodel/sim/differential"
)

// draw gives the schedule of a seed: always the same.
func draw(seed uint64) differential.Schedule { return schedules.Example(int(seed & (1<<62 - 1))) }

var schedules = rapid.Custom(drawSchedule)

func one[T any](t *rapid.T, label string, of ...T) T { return rapid.SampledFrom(of).Draw(t, label) }

func oneIn(t *rapid.T, n int, label string) bool { return rapid.IntRange(1, n).Draw(t, label) == n }

func milliseconds(t *rapid.T, label string, low, high int) time.Duration {
	return time.Duration(rapid.IntRange(low/10, high/10).Draw(t, label)*10) * time.Millisecond
}

func drawSchedule(t *rapid.T) differential.Schedule {
	s := differential.Schedule{Behavior: drawBehavior(t), External: rapid.IntRange(1, differential.MaxExternal).Draw(t, "external")}
	d := drawer{t: t, tracked: s.Behavior.Kind != nat.KindRFC, protocol: table.UDP}
	if oneIn(t, 4, "another protocol") {
		d.protocol = one(t, "protocol", table.TCP, table.ICMPEcho)
	}
	d.times(s.Behavior)
	n := rapid.IntRange(4, 26).Draw(t, "steps")
	for range n {
		step := d.step()
		if last := len(s.Steps) - 1; last >= 0 && d.alongside(s.Steps[last], step) {
			step.Same = oneIn(t, 8, "same")
		}
		s.Steps = append(s.Steps, step)
	}
	return s
}

// drawBehavior draws one that rules can do. Ranges are small, so that hosts contend
// for ports; times are short, so that pauses are.
func drawBehavior(t *rapid.T) nat.Behavior {
	var b nat.Behavior
	if oneIn(t, 5, "kind") {
		b, _ = one(t, "kind", nat.KindMasquerade, nat.KindMasquerade, nat.KindMasqueradeRandom, nat.KindMasqueradeFullyRandom).Implied()
		b.Early = one(t, "early", nat.EarlyDrop, nat.EarlyAccept)
		b.Range = one(t, "range", nat.PortRange{}, nat.PortRange{Low: 40000, High: 40006}, nat.PortRange{Low: 40000, High: 40002})
		if oneIn(t, 4, "times") {
			b.Timeout = one(t, "timeout", time.Second, 2*time.Second)
			b.Stream = one(t, "stream", time.Second, 3*time.Second)
			b.TimeoutICMP = time.Second
		}
		if oneIn(t, 4, "size") {
			b.TableSize = rapid.IntRange(1, 6).Draw(t, "size")
		}
		return b
	}
	b.Mapping = nat.Dependence(rapid.IntRange(0, 2).Draw(t, "mapping"))
	b.Filtering = nat.Dependence(rapid.IntRange(0, 2).Draw(t, "filtering"))
	b.Scope = nat.Scope(rapid.IntRange(0, 1).Draw(t, "scope"))
	b.Ports = nat.Allocation(rapid.IntRange(0, 3).Draw(t, "ports"))
	b.Hairpin = nat.Hairpin(rapid.IntRange(0, 2).Draw(t, "hairpin"))
	b.Refresh = nat.Refresh(rapid.IntRange(0, 2).Draw(t, "refresh"))
	b.Pooling = nat.Pooling(rapid.IntRange(0, 1).Draw(t, "pooling"))
	if oneIn(t, 3, "parity") {
		b.Parity = nat.ParityKeep
	}
	b.Range = one(t, "range", nat.PortRange{}, nat.PortRange{Low: 40000, High: 40006}, nat.PortRange{Low: 40001, High: 40004},
		nat.PortRange{Low: 39990, High: 40031}, nat.PortRange{Low: 40000, High: 40002})
	if b.Ports == nat.Preserve {
		b.Fallback = nat.Fallback(rapid.IntRange(0, 1).Draw(t, "fallback"))
	}
	if b.Ports == nat.Sequential || b.Ports == nat.Preserve && b.Fallback == nat.FallbackSequential {
		b.Delta = rapid.IntRange(0, 3).Draw(t, "delta")
		if b.Delta == 3 && b.Range.Size() < 4 {
			b.Delta = 0
		}
	}
	if b.Ports == nat.Block {
		b.Block = rapid.IntRange(16, 18).Draw(t, "block")
		b.Range = one(t, "range", nat.PortRange{}, nat.PortRange{Low: 40000, High: 40035}, nat.PortRange{Low: 39990, High: 40043})
	}
	if oneIn(t, 2, "times") {
		b.Timeout = milliseconds(t, "timeout", 100, 300)
		if oneIn(t, 2, "stream") {
			b.Stream = milliseconds(t, "stream", 100, 400)
		}
		if oneIn(t, 3, "timeout-tcp") {
			b.TimeoutTCP = milliseconds(t, "timeout-tcp", 100, 300)
		}
		if oneIn(t, 3, "timeout-icmp") {
			b.TimeoutICMP = milliseconds(t, "timeout-icmp", 100, 300)
		}
		if oneIn(t, 4, "rotate") {
			b.Rotate = milliseconds(t, "rotate", 100, 400)
		}
	}
	// A full table whose mappings end is not judged for as long as the kernel counts them.
	if rare := 3; b.Timeout == 0 && oneIn(t, rare, "size") || oneIn(t, 4*rare, "size") {
		b.TableSize = rapid.IntRange(1, 6).Draw(t, "size")
	}
	return b
}

// drawer draws the steps of a schedule.
type drawer struct {
	t        *rapid.T
	tracked  bool
	protocol table.Protocol
	pauses   []time.Duration // of about the times that the NAT has
	waited   time.Duration
}

// times are pauses around the times of a behaviour, where these are short.
func (d *drawer) times(b nat.Behavior) {
	r := b.Resolved()
	for _, at := range []time.Duration{r.Timeout, r.Stream, r.TimeoutTCP, r.TimeoutICMP, r.Rotate} {
		if at > 0 && at <= 4*time.Second {
			d.pauses = append(d.pauses, at/2, at*8/10, at+60*time.Millisecond)
		}
	}
}

func (d *drawer) step() differential.Step {
	switch roll := rapid.IntRange(0, 99).Draw(d.t, "step"); {
	case roll < 45:
		return d.packet(differential.Out, d.inside(), d.outside())
	case roll < 70:
		return d.packet(differential.In, d.outside(), d.external())
	case roll < 80:
		return d.packet(differential.Out, d.inside(), d.external())
	case roll < 94:
		return d.wait()
	}
	return d.change()
}

// alongside reports whether two packets may be sent at one instant. Not so two of one
// inside endpoint, which may claim a port each, and those that are hairpinned, whose
// mappings nobody sees; conntrack drops one of two packets that begin flows which clash.
func (d *drawer) alongside(a, b differential.Step) bool {
	packets := a.Do <= differential.In && b.Do <= differential.In
	hairpin := func(s differential.Step) bool {
		return s.Do == differential.Out && s.To.Node != 'x' && s.To.Node != 'y'
	}
	return packets && !d.tracked && !a.Same && a.From != b.From && !hairpin(a) && !hairpin(b)
}

func (d *drawer) packet(do differential.StepKind, from, to differential.Endpoint) differential.Step {
	p := d.protocol
	if oneIn(d.t, 12, "protocol") && !d.tracked {
		p = one(d.t, "protocol", table.UDP, table.TCP, table.ICMPEcho)
	}
	if d.tracked && p == table.TCP {
		p = table.UDP // the model knows no states of TCP, and conntrack does
	}
	return differential.Step{Do: do, Protocol: p, From: from, To: to}
}

func (d *drawer) inside() differential.Endpoint {
	return differential.Endpoint{Node: one(d.t, "host", byte('a'), 'a', 'b', 'c'), Port: d.port()}
}

// port is one of few, which may lie out of the range.
func (d *drawer) port() uint16 { return one[uint16](d.t, "port", 40001, 40001, 40002, 40003, 5000) }

func (d *drawer) outside() differential.Endpoint {
	return differential.Endpoint{Node: one(d.t, "remote", byte('x'), 'x', 'y'), Port: one[uint16](d.t, "remote port", 3478, 3478, 3479)}
}

// external is a mapping, a guess, or a port that was never used.
func (d *drawer) external() differential.Endpoint {
	switch roll := rapid.IntRange(0, 9).Draw(d.t, "external"); {
	case roll < 7:
		i := d.inside()
		e := differential.Endpoint{Node: '@', Host: i.Node, Port: i.Port}
		if roll == 6 {
			e.Back = 1
		}
		return e
	case roll < 9:
		// Where ports are preserved, or counted up from the low end of a range.
		guess := rapid.Uint16Range(0, 7).Draw(d.t, "guess") + one[uint16](d.t, "from", 40000, 40000, 1024)
		return differential.Endpoint{Node: one(d.t, "address", byte('1'), '1', '2', '3'), Port: guess}
	}
	return differential.Endpoint{Node: '1', Port: 61000}
}

// wait lets at most a bounded time pass over all, and where the NAT has short times.
func (d *drawer) wait() differential.Step {
	most := 1200 * time.Millisecond
	if d.tracked {
		most = 5 * time.Second
	}
	if len(d.pauses) == 0 {
		return d.packet(differential.In, d.outside(), d.external())
	}
	pause := one(d.t, "pause", d.pauses...)
	if d.waited += pause; d.waited > most {
		return d.packet(differential.Out, d.inside(), d.outside())
	}
	return differential.Step{Do: differential.Wait, Pause: pause.Round(time.Millisecond)}
}

func (d *drawer) change() differential.Step {
	switch rapid.IntRange(0, 5).Draw(d.t, "change") {
	case 0:
		return differential.Step{Do: differential.Flush}
	case 1:
		s := differential.Step{Do: differential.Reboot}
		if oneIn(d.t, 2, "other addresses") {
			s.External = rapid.IntRange(1, differential.MaxExternal).Draw(d.t, "external")
		}
		return s
	case 2:
		b := drawBehavior(d.t)
		d.tracked = b.Kind != nat.KindRFC
		d.times(b)
		return differential.Step{Do: differential.Swap, Behavior: b}
	}
	if d.tracked && len(d.pauses) > 0 {
		return differential.Step{Do: differential.Flush} // conntrack takes whole seconds for what stands in a flow's place
	}
	s := differential.Step{Do: differential.Rebind}
	if oneIn(d.t, 2, "host") {
		s.Host = one(d.t, "host", byte('a'), 'b', 'c')
	}
	return s
}
