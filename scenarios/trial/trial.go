package trial

import "errors"

// Trial is a setting that was made ready. It is safe for concurrent use.
type Trial struct{ setting Setting }

// New makes a setting ready. The error is ErrSetting.
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
	return &Trial{setting: s}, nil
}

// Run plays the trial. Everything that is random comes from the seed: ids, keys,
// jitter, losses, random ports. Equal settings and seeds give equal outcomes.
func (t *Trial) Run(seed uint64) (Outcome, error) {
	return Outcome{}, errors.New("trial: there is no fabric to play on yet")
}
