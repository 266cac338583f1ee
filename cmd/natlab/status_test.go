package main

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
)

// An error in several parts is told as it says it, several errors a line each.
func TestComplain(t *testing.T) {
	forbidden, full := errors.New("user namespaces are not permitted here"), errors.New("no space left on device")
	remedy := fmt.Errorf("%w (%w): run `this`", forbidden, full)
	for _, row := range []struct {
		err  error
		want string
	}{
		{full, "natlab: no space left on device\n"},
		{remedy, "natlab: user namespaces are not permitted here (no space left on device): run `this`\n"},
		{errors.Join(remedy, full), "natlab: user namespaces are not permitted here (no space left on device): run `this`\nnatlab: no space left on device\n"},
		{errors.Join(full), "natlab: no space left on device\n"},
	} {
		var out bytes.Buffer
		if complain(&out, row.err); out.String() != row.want {
			t.Errorf("%v is told as\n%s", row.err, &out)
		}
	}
}
