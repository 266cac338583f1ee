package relay_test

import (
	"log/slog"
	"testing"

	"p2pmodel/core/relay"
	"p2pmodel/core/relay/kernelpath"
)

func init() {
	relay.NewKernelPath = func(t *testing.T) (relay.FastPath, func(), error) {
		p, err := kernelpath.New(slog.New(slog.NewTextHandler(trouble{t}, nil)))
		if err != nil {
			return nil, nil, err
		}
		return p, p.Shut, nil
	}
}

// trouble fails the test with what is logged: all of it is trouble.
type trouble struct{ *testing.T }

func (l trouble) Write(p []byte) (int, error) {
	l.Errorf("logged: %s", p)
	return len(p), nil
}
