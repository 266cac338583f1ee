//go:build linux

package standing

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"p2pmodel/sim/kernel"
)

func TestMain(m *testing.M) {
	kernel.Init()
	goleak.VerifyTestMain(m)
}

// folder is one for labs.
func folder(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "labs")
	t.Setenv(DirectoryEnv, dir)
	got, err := Directory()
	if err != nil || got != dir {
		t.Fatalf("%s: %v", got, err)
	}
	return dir
}

func TestANameIsOneLabs(t *testing.T) {
	dir := folder(t)
	first, err := claimName(dir, "mine")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := claimName(dir, "mine"); !errors.Is(err, errTaken) {
		t.Errorf("a second lab of the name: %v", err)
	}
	other, err := claimName(dir, "yours")
	if err != nil {
		t.Fatal(err)
	}
	if have, err := names(dir); err != nil || !slices.Equal(have, []string{"mine", "yours"}) {
		t.Errorf("%v, %v", have, err)
	}
	first.release()
	again, err := claimName(dir, "mine")
	if err != nil {
		t.Fatalf("after its end the name is not free: %v", err)
	}
	first.release() // twice takes nothing from the next one
	again.release()
	other.release()
	empty(t, dir)
}

func empty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// A process that was killed leaves files, which nobody takes for a lab.
func TestFilesOfDeadLabsAreRemoved(t *testing.T) {
	dir := folder(t)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "dead.sock"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if err := os.WriteFile(filepath.Join(dir, "dead.lock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if labs, err := All(t.Context()); err != nil || len(labs) > 0 {
		t.Errorf("%v, %v", labs, err)
	}
	empty(t, dir)
	if _, err := Find(t.Context(), "dead"); err == nil || !strings.Contains(err.Error(), `no lab "dead"`) {
		t.Errorf("%v", err)
	}
}

func TestFoldersOfOthersAreRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "open")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv(DirectoryEnv, dir)
	if _, err := Directory(); err == nil || !strings.Contains(err.Error(), "chmod 700 "+dir) {
		t.Errorf("a folder that others may enter: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(DirectoryEnv, file)
	if _, err := Directory(); err == nil || !strings.Contains(err.Error(), "is no folder") {
		t.Errorf("a file: %v", err)
	}
	if os.Geteuid() != 0 {
		t.Log("LEFT OUT: a folder of another user's, which takes root to make")
		return
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	t.Setenv(DirectoryEnv, dir)
	if _, err := Directory(); err == nil || !strings.Contains(err.Error(), "belongs to another user") {
		t.Errorf("a folder of another user's: %v", err)
	}
}

func TestNames(t *testing.T) {
	for file, want := range map[string]string{
		"lab.yaml": "lab", "/x/y/hotel.yml": "hotel", "TC-03": "TC-03", "my lab (2).yaml": "my-lab--2-", ".yaml": "lab",
		"..": "lab", "größe.yaml": "gr--e", strings.Repeat("x", 99): strings.Repeat("x", 64),
	} {
		if got := NameFor(file); got != want || CheckName(got) != nil {
			t.Errorf("%s: %q, want %q", file, got, want)
		}
	}
	for _, bad := range []string{"", ".", "../x", "a/b", "-x", "a b", strings.Repeat("x", 65), "a\n"} {
		if CheckName(bad) == nil {
			t.Errorf("%q is taken for a name", bad)
		}
	}
	if _, err := claimName("/tmp/"+strings.Repeat("long/", 20), "x"); err == nil || !strings.Contains(err.Error(), "too long for a socket") {
		t.Errorf("a path too long: %v", err)
	}
}
