package p2pmodel_test

import (
	"os/exec"
	"testing"
)

// The pages that the code makes are what it makes now.
func TestGeneratedPagesAreCurrent(t *testing.T) {
	t.Parallel()
	if out, err := exec.Command("go", "run", "./cmd/pages", "-check").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
