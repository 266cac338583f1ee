package trial

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"p2pmodel/core/peer"
	"p2pmodel/core/punch"
	"p2pmodel/sim/link"
	"p2pmodel/sim/virtual"
)

// Trial is a setting that was made ready. It is safe for concurrent use.
type Trial struct {
	setting Setting
	shape   *shape
	// behaviours of the lab's routers and impairments of its links, in its order.
	lab virtual.Setting
}

// New makes a setting ready. The error is ErrSetting. Lists that the setting refers
// to must not change from now on.
func New(s Setting) (*Trial, error) {
	if err := s.validate(); err != nil {
		return nil, err
	}
	if s.Interval == 0 {
		s.Interval = DefaultInterval
	}
	if s.Size == 0 {
		s.Size = DefaultSize
	}
	if s.Limit == 0 {
		s.Limit = patience(s.Players)
		if s.Prediction {
			s.Limit += peer.LongestPrediction
		}
		if s.Birthday {
			s.Limit += peer.LongestBirthday
		}
	}
	s.Players = slices.Clone(s.Players)
	shape, err := shapeOf(s.Players)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSetting, err)
	}
	return &Trial{setting: s, shape: shape, lab: virtual.Setting{NATs: shape.nats(s.Players), Links: shape.links(s.Players)}}, nil
}

// patience is how long a pair may take by what the core promises: introduced, it
// settles in four times SettleAfter where nobody hears of the other, and packets
// queue on the way.
func patience(players []Player) time.Duration {
	var longest, second time.Duration
	for _, p := range players {
		switch d := delay(p.Up) + delay(p.Down); {
		case d > longest:
			longest, second = d, longest
		case d > second:
			second = d
		}
	}
	rtt := longest + second
	return 2*time.Second + 4*punch.SettleAfter(rtt) + 8*rtt
}

// delay is the longest that a line takes but for its queue.
func delay(i link.Impairment) time.Duration { return i.Delay + i.Jitter + i.Wander.Delay }

// GarbagePercent is GOGC for programs that play trials by the thousand: a trial is some
// 170 kB that are garbage at once, and who collects it less often has a tenth more time for
// trials, for a few megabytes.
const GarbagePercent = 400

// Run plays the trial. Everything that is random comes from the seed: ids, keys,
// jitter, losses, random ports. Equal settings and seeds give equal outcomes.
func (t *Trial) Run(seed uint64) (Outcome, error) {
	p := memory.Get().(*play)
	defer memory.Put(p)
	err := p.begin(t, seed)
	if err == nil {
		err = p.run()
	}
	var o Outcome
	if err == nil {
		o = p.outcome()
	}
	if p.net != nil {
		err = errors.Join(err, p.net.Close())
	}
	if err != nil {
		return Outcome{}, fmt.Errorf("trial with seed %d: %w", seed, err)
	}
	return o, nil
}
