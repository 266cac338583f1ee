//go:build linux

package standing

import (
	"encoding/json"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// ends gives both ends of a connection.
func ends(tb testing.TB) (a, b *conn) {
	tb.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		tb.Fatal(err)
	}
	var both []*conn
	for _, fd := range fds {
		f := os.NewFile(uintptr(fd), "end")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			tb.Fatal(err)
		}
		k := newConn(c.(*net.UnixConn))
		tb.Cleanup(k.close)
		both = append(both, k)
	}
	return both[0], both[1]
}

func TestARequestCarriesItsFiles(t *testing.T) {
	client, server := ends(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	// Longer than a socket takes at once.
	long := strings.Repeat("x", 1<<20)
	sent := make(chan error, 1)
	go func() {
		sent <- client.write(request{Protocol: protocol, Call: callExec, Arguments: json.RawMessage(`"` + long + `"`)}, w, w, w)
		w.Close()
	}()
	var got request
	if err := server.read(&got); err != nil {
		t.Fatal(err)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if got.Call != callExec || len(got.Arguments) != len(long)+2 {
		t.Errorf("got a call %q with %d bytes", got.Call, len(got.Arguments))
	}
	files := server.take()
	if len(files) != 3 {
		t.Fatalf("%d files came, want 3", len(files))
	}
	if _, err := files[2].WriteString("through"); err != nil {
		t.Error(err)
	}
	for _, f := range files {
		f.Close()
	}
	if b, err := io.ReadAll(r); err != nil || string(b) != "through" {
		t.Errorf("%q %v", b, err)
	}
	// What nobody takes is closed.
	r2, w2, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r2.Close()
	if err := client.write(1, w2); err != nil {
		t.Fatal(err)
	}
	w2.Close()
	var n int
	if err := server.read(&n); err != nil {
		t.Fatal(err)
	}
	server.close()
	if _, err := r2.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the file is still open: %v", err)
	}
}

func TestTooManyFilesAreRefused(t *testing.T) {
	client, server := ends(t)
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := client.write("x", f, f, f, f, f); err != nil {
		t.Fatal(err)
	}
	var s string
	if err := server.read(&s); err == nil {
		t.Error("five files were taken")
	}
}

func TestLinesAreBounded(t *testing.T) {
	client, server := ends(t)
	go func() {
		part := []byte(strings.Repeat("x", 1<<20))
		for range maxLine>>20 + 2 {
			if _, err := client.unix.Write(part); err != nil {
				return
			}
		}
	}()
	var s string
	if err := server.read(&s); err == nil || !strings.Contains(err.Error(), "a line of more than") {
		t.Errorf("%v", err)
	}
}

func TestStrangersAreRefused(t *testing.T) {
	_, server := ends(t)
	if err := server.trust(); err != nil {
		t.Errorf("we do not trust ourselves: %v", err)
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root to be somebody else")
	}
	dir, err := os.MkdirTemp("", "strangers")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	l, err := listen(dir + "/x.sock")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, path := range []string{dir, dir + "/x.sock"} {
		if err := os.Chmod(path, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	fd, err := connectAs(65534, dir+"/x.sock")
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	c, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	k := newConn(c)
	defer k.close()
	if err := k.trust(); err == nil || !strings.Contains(err.Error(), "of user 65534") {
		t.Errorf("another user was trusted: %v", err)
	}
}

// connectAs connects as another user, by a thread that is that for a moment.
func connectAs(uid int, path string) (fd int, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	keep := ^uintptr(0)
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, keep, uintptr(uid), keep); errno != 0 {
		return -1, errno
	}
	defer func() {
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, keep, 0, keep); errno != 0 {
			panic(errno)
		}
	}()
	if fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return -1, err
	}
	return fd, unix.Connect(fd, &unix.SockaddrUnix{Name: path})
}

// FuzzRequest: whatever comes, the answer is an error or a request.
func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"protocol":1,"call":"describe"}` + "\n"))
	f.Add([]byte("{}\n{}\n"))
	f.Add([]byte("\x00\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		client, server := ends(t)
		if _, err := client.unix.Write(data); err != nil {
			return
		}
		client.close()
		for range 3 {
			var r request
			if err := server.read(&r); err == io.EOF {
				return
			}
		}
	})
}
