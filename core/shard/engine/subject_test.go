package engine_test

import (
	"testing"

	"p2pmodel/core/shard/engine"
)

func TestCovers(t *testing.T) {
	for _, row := range []struct {
		outer, inner string
		want         bool
	}{
		{"a.b", "a.b", true},
		{"a.b", "a.c", false},
		{"a.b", "a", false},
		{"a", "a.b", false},
		{"a.*", "a.b", true},
		{"a.*", "a.b.c", false},
		{"a.*", "a", false},
		{"a.>", "a.b", true},
		{"a.>", "a.b.c", true},
		{"a.>", "a", false},
		{">", "a.b.c", true},
		{"*.b", "a.b", true},
		{"*.b", "a.c", false},
		{"a.*.c", "a.b.c", true},
		// Patterns in patterns.
		{"a.*", "a.*", true},
		{"a.*", "a.>", false},
		{"a.>", "a.*", true},
		{"a.>", "a.*.>", true},
		{"a.b", "a.*", false},
		{"*.*", ">", false},
		{">", ">", true},
	} {
		if got := engine.Covers(row.outer, row.inner); got != row.want {
			t.Errorf("%s covers %s: %t, want %t", row.outer, row.inner, got, row.want)
		}
	}
}

func TestDefaults(t *testing.T) {
	if got := (engine.Limits{}).Normal(); got.Workers != 16 || got.Queue != 256 {
		t.Errorf("limits %+v", got)
	}
	if got := (engine.BucketConfig{Name: "b"}).Normal(); got.MaxValue != engine.MaxPayload || got.MaxBytes != 1<<30 {
		t.Errorf("bucket %+v", got)
	}
}
