package natsengine

import (
	"errors"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"p2pmodel/core/shard/engine"
)

// What a server says, and what callers branch on.
func TestErrorsInTheEnginesWords(t *testing.T) {
	for _, row := range []struct {
		name string
		err  error
		want error
	}{
		{"a cluster that is not whole yet", &jetstream.APIError{Code: 400, ErrorCode: 10005, Description: "no suitable peers for placement"}, engine.ErrUnavailable},
		{"no leader", &jetstream.APIError{Code: 503, ErrorCode: 10008}, engine.ErrUnavailable},
		{"another revision", &jetstream.APIError{Code: 400, ErrorCode: jetstream.JSErrCodeStreamWrongLastSequence}, engine.ErrConflict},
		{"no key", jetstream.ErrKeyNotFound, engine.ErrNotFound},
		{"JetStream is another account's", &jetstream.APIError{Code: 503, ErrorCode: jetstream.JSErrCodeJetStreamNotEnabledForAccount}, engine.ErrPermission},
	} {
		if got := translate(row.err); !errors.Is(got, row.want) {
			t.Errorf("%s: %v, want %v", row.name, got, row.want)
		}
	}
}
