package certify

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"p2pmodel/nat"
)

func newProbe(cfg Config) *Probe {
	p := &Probe{cfg: cfg, used: make(map[uint16]bool), told: make(map[nat.Axis]Finding), judged: make(map[string]judgement), other: make(map[Protocol]*socket)}
	binary.BigEndian.PutUint64(p.marker[:], cfg.Rand.Uint64())
	p.phases = []func(now time.Time){
		p.openOutside,
		p.meet,
		p.measurePorts, // alone: others would take ports in between
		func(now time.Time) {
			p.measureFiltering(now)
			p.measureMapping(now)
			p.measureHairpin(now)
			p.measureContention(now)
		},
		p.judgeContention,
		p.measureScope,
		p.predictHairpin,
		p.predictHairpin,
		p.judgeHairpin,
		p.measureCapacity,
		p.judgePooling,
		p.judgeRange,
	}
	if cfg.Declared.Kind == nat.KindMasquerade {
		p.phases = append(p.phases, p.measureEarly)
	}
	if cfg.Requirements {
		p.phases = append(p.phases, p.judgePrivileged, p.measureErrors, p.measureSizes, p.measureALG, p.measureDeterminism, p.measureLife)
	}
	for _, axis := range cfg.Times(cfg.Declared) {
		p.phases = append(p.phases, map[nat.Axis]func(now time.Time){
			nat.AxisTimeout: p.measureTimeout, nat.AxisStream: p.measureStream, nat.AxisTimeoutTCP: p.measureTCP, nat.AxisTimeoutICMP: p.measureICMP, nat.AxisRotate: p.measureRotation,
		}[axis])
	}
	if cfg.Requirements {
		p.phases = append(p.phases, p.judgeFindings)
	}
	return p
}

// find records what was measured of an axis. An axis is found once.
func (p *Probe) find(axis nat.Axis, measured string, evidence ...string) {
	p.order = append(p.order, axis)
	p.told[axis] = Finding{Axis: string(axis), Declared: p.cfg.Declared.Get(axis), Measured: measured, Evidence: evidence}
}

// fail ends the probe: the laboratory broke, which says nothing of the NAT.
func (p *Probe) fail(now time.Time, err error) {
	p.result = Result{Err: err, Duration: now.Sub(p.started)}
	p.done = true
}

// always are the axes that the text names even where they have their default.
var always = []nat.Axis{nat.AxisMapping, nat.AxisFiltering, nat.AxisPorts, nat.AxisScope, nat.AxisPooling, nat.AxisTimeout, nat.AxisRefresh, nat.AxisHairpin}

// conclude puts the findings into the text form.
func (p *Probe) conclude(now time.Time) {
	r := Result{Behavior: p.cfg.Declared, Duration: now.Sub(p.started)}
	for _, axis := range p.order {
		r.Findings = append(r.Findings, p.told[axis])
	}
	var declared, measured []string
	for _, axis := range nat.Axes() {
		f, ok := p.told[axis]
		if !ok {
			continue
		}
		if f.Measured == f.Declared && f.Declared == (nat.Behavior{}).Get(axis) && !slices.Contains(always, axis) {
			continue // it goes without saying
		}
		declared = append(declared, fmt.Sprintf("%s=%s", axis, f.Declared))
		measured = append(measured, fmt.Sprintf("%s=%s", axis, f.Measured))
		if f.Measured != f.Declared {
			// What was measured may be no value of the axis, as a bracket of
			// times; then the finding alone says it.
			_ = r.Behavior.Set(axis, f.Measured)
		}
	}
	r.Declared, r.Measured = strings.Join(declared, ","), strings.Join(measured, ",")
	r.Requirements = p.report()
	p.result, p.done = r, true
}

// openOutside opens the sockets in front of the NAT.
func (p *Probe) openOutside(time.Time) {
	for a, addr := range p.cfg.Outside {
		for b, port := range p.cfg.Ports {
			p.open(false, netip.AddrPortFrom(addr, port), func(_ time.Time, s *socket) { p.outside[a][b] = s })
		}
	}
}
