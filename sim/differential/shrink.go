//go:build linux

package differential

import (
	"time"

	"p2pmodel/nat"
	"p2pmodel/nat/table"
)

// Shrink finds a smaller schedule that still fails: fewer steps, a behaviour with
// fewer axes that are not as by default, fewer addresses, hosts and ports. It tries
// until nothing smaller fails, or the budget of tries is used up. fails must tell
// the truth: what fails by chance has to fail each time it is asked.
func Shrink(s Schedule, budget int, fails func(Schedule) bool) Schedule {
	k := &shrinker{best: s, left: budget, fails: fails}
	for changed := true; changed && k.left > 0; {
		changed = k.fewerSteps()
		changed = k.plainerBehavior() || changed
		changed = k.plainerSteps() || changed
	}
	return k.best
}

type shrinker struct {
	best  Schedule
	left  int
	fails func(Schedule) bool
}

// try takes a candidate if it is valid and fails.
func (k *shrinker) try(s Schedule) bool {
	if k.left <= 0 || !s.Supported() || s.Validate() != nil {
		return false
	}
	k.left--
	if !k.fails(s) {
		return false
	}
	k.best = s
	return true
}

// fewerSteps leaves out runs of steps, long ones first, from the end on; or has a pause
// in their place, since what they did may have been to take time.
func (k *shrinker) fewerSteps() (changed bool) {
	for size := max(1, len(k.best.Steps)/2); size >= 1; size /= 2 {
		for at := len(k.best.Steps) - size; at >= 0; at -= size {
			if at+size > len(k.best.Steps) {
				continue
			}
			s, paused := k.best.Clone(), k.best.Clone()
			s.Steps = append(s.Steps[:at:at], k.best.Steps[at+size:]...)
			paused.Steps = append(append(paused.Steps[:at:at], Step{Do: Wait, Pause: instead}), k.best.Steps[at+size:]...)
			changed = k.try(s) || size > 1 && k.try(paused) || changed
		}
	}
	return changed
}

// instead is how long a pause in the place of steps is.
const instead = 100 * time.Millisecond

// plainerBehavior gives axes their defaults, and ranges and times simple values.
func (k *shrinker) plainerBehavior() (changed bool) {
	for _, to := range plainer(k.best.Behavior) {
		s := k.best.Clone()
		s.Behavior = to(s.Behavior)
		if s.Behavior != k.best.Behavior {
			changed = k.try(s) || changed
		}
	}
	if k.best.External > 1 {
		s := k.best.Clone()
		s.External = 1
		changed = k.try(s) || changed
	}
	for i := range k.best.Steps {
		for _, to := range plainer(k.best.Steps[i].Behavior) {
			s := k.best.Clone()
			if s.Steps[i].Do != Swap {
				break
			}
			s.Steps[i].Behavior = to(s.Steps[i].Behavior)
			if s.Steps[i].Behavior != k.best.Steps[i].Behavior {
				changed = k.try(s) || changed
			}
		}
	}
	return changed
}

// plainer are ways to make a behaviour simpler.
func plainer(b nat.Behavior) []func(nat.Behavior) nat.Behavior {
	var ways []func(nat.Behavior) nat.Behavior
	if b.Kind != nat.KindRFC {
		ways = append(ways, func(b nat.Behavior) nat.Behavior {
			return nat.Behavior{Mapping: b.Mapping, Filtering: b.Filtering}
		})
	}
	for _, axis := range nat.Axes() {
		ways = append(ways, func(b nat.Behavior) nat.Behavior {
			standard := nat.Behavior{}
			if b.Kind != nat.KindRFC {
				standard, _ = b.Kind.Implied()
			}
			switch axis {
			case nat.AxisTimeout:
				b.Timeout = 0
			case nat.AxisStream:
				b.Stream = 0
			case nat.AxisTimeoutTCP:
				b.TimeoutTCP = 0
			case nat.AxisTimeoutICMP:
				b.TimeoutICMP = 0
			case nat.AxisKind:
			default:
				_ = b.Set(axis, standard.Get(axis))
			}
			return b
		})
	}
	return ways
}

// plainerSteps makes each step simpler: UDP, the first host, the first remote, the
// last mapping.
func (k *shrinker) plainerSteps() (changed bool) {
	for i := range k.best.Steps {
		for _, to := range []func(*Step){
			func(s *Step) { s.Protocol = table.UDP },
			func(s *Step) { s.From.Node = plain(s.From.Node) },
			func(s *Step) { s.From.Port = plainPort(s.From) },
			func(s *Step) { s.To.Node = plain(s.To.Node) },
			func(s *Step) { s.To.Port = plainPort(s.To) },
			func(s *Step) { s.Same = false },
			func(s *Step) { s.To.Back = 0 },
			func(s *Step) {
				if s.To.Node == mapped {
					s.To.Host = firstHost
				}
			},
			func(s *Step) { s.Pause = s.Pause.Round(100 * time.Millisecond) },
			func(s *Step) { s.External, s.Host = 0, 0 },
		} {
			s := k.best.Clone()
			if to(&s.Steps[i]); s.Steps[i] != k.best.Steps[i] {
				changed = k.try(s) || changed
			}
		}
	}
	return changed
}

func plain(node byte) byte {
	for _, first := range []byte{firstHost, firstOutside, firstExternal} {
		if among(node, first) {
			return first
		}
	}
	return node
}

func plainPort(e Endpoint) uint16 {
	if among(e.Node, firstOutside) {
		return 3478
	}
	return 40001
}
