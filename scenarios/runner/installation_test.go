//go:build unix

package runner

import (
	"os"
	"testing"
)

// Folders of processes that were killed go with the next run; those of others that
// live stay, as does one that is being made.
func TestFoldersOfTheDeadAreRemoved(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	var dead, alive, next installation
	if err := dead.folder(); err != nil {
		t.Fatal(err)
	}
	if err := alive.folder(); err != nil {
		t.Fatal(err)
	}
	unfinished, err := os.MkdirTemp("", folderPrefix)
	if err != nil {
		t.Fatal(err)
	}
	dead.lock.Close() // what the kernel does when a process dies
	if err := next.folder(); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]bool{dead.dir: false, alive.dir: true, unfinished: true, next.dir: true} {
		if _, err := os.Stat(dir); (err == nil) != want {
			t.Errorf("%s is there: %v, want %v", dir, err == nil, want)
		}
	}
	if err := next.remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(next.dir); err == nil {
		t.Error("the folder was not removed")
	}
}
