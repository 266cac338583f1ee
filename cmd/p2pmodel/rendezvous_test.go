package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/stun"
)

// execute runs p2pmodel with arguments and gives exit code and error output.
func execute(ctx context.Context, out io.Writer, args ...string) (code int, errors string) {
	var stderr bytes.Buffer
	root := newRootCommand()
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(&stderr)
	return run(ctx, root), stderr.String()
}

func TestRendezvousBadInput(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.key")
	if err := os.WriteFile(bad, []byte("not a key\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	keyless := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(keyless, []byte("# none yet\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"no address":              {nil, exitUsage, "--listen IP:PORT is required"},
		"a name for an address":   {[]string{"--listen", "localhost:3478"}, exitUsage, "not IP:PORT"},
		"a port only":             {[]string{"--listen", ":3478"}, exitUsage, "not IP:PORT"},
		"a bad alternate":         {[]string{"--listen", "127.0.0.1:1", "--alternate", "x"}, exitUsage, "--alternate"},
		"alternate on one port":   {[]string{"--listen", "127.0.0.1:1", "--alternate", "127.0.0.2:1"}, exitUsage, "differ in address and in port"},
		"no key in the key file":  {[]string{"--listen", "127.0.0.1:0", "--key-file", bad}, exitUsage, "not base32"},
		"no such directory":       {[]string{"--listen", "127.0.0.1:0", "--key-file", "/nonexistent/key"}, exitUsage, "key file"},
		"a lifetime too short":    {[]string{"--listen", "127.0.0.1:0", "--lifetime", "1ms"}, exitUsage, "at least 1s"},
		"no file of ticket keys":  {[]string{"--listen", "127.0.0.1:0", "--ticket-keys", bad + "x"}, exitUsage, "--ticket-keys"},
		"a file of no keys":       {[]string{"--listen", "127.0.0.1:0", "--ticket-keys", keyless}, exitUsage, "it has no key"},
		"an argument too many":    {[]string{"--listen", "127.0.0.1:0", "more"}, exitUsage, "more"},
		"an unknown flag":         {[]string{"--nonsense"}, exitUsage, "--nonsense"},
		"somebody else's address": {[]string{"--listen", "192.0.2.1:3478"}, exitFailed, "192.0.2.1:3478"},
	} {
		code, says := execute(t.Context(), io.Discard, append([]string{"rendezvous"}, c.args...)...)
		if code != c.code || !strings.Contains(says, c.says) || strings.Contains(says, "not a key") {
			t.Errorf("%s: exit %d, %q; want exit %d and %q", name, code, says, c.code, c.says)
		}
	}
	if code, says := execute(t.Context(), io.Discard, "nonsense"); code != exitUsage || !strings.Contains(says, `"nonsense"`) {
		t.Errorf("an unknown command: exit %d, %q", code, says)
	}
}

func TestRendezvousListensAndStops(t *testing.T) {
	keyFile := filepath.Join(t.TempDir(), "rendezvous.key")
	var keys []string
	for range 2 { // the second finds the key that the first has made
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		out, in := io.Pipe()
		done := make(chan int, 1)
		go func() {
			code, says := execute(ctx, in, "rendezvous", "--listen", "127.0.0.1:0", "--key-file", keyFile)
			in.CloseWithError(io.EOF)
			if strings.Count(says, "\n") != 1 || !strings.Contains(says, "msg=stopping") {
				t.Errorf("it says %q", says)
			}
			done <- code
		}()
		lines := bufio.NewScanner(out)
		if !lines.Scan() {
			t.Fatal("it says nothing")
		}
		words := strings.Fields(lines.Text())
		if len(words) != 6 || strings.Join(words[:3], " ") != "rendezvous listening on" || words[4] != "key" {
			t.Fatalf("it says %q", lines.Text())
		}
		keys = append(keys, words[5])
		askBinding(t, words[3])
		cancel()
		select {
		case code := <-done:
			if code != 0 {
				t.Errorf("exit %d after the signal, want 0", code)
			}
		case <-time.After(patience):
			t.Fatal("it does not stop")
		}
	}
	if keys[0] != keys[1] {
		t.Errorf("keys %v: not kept in the file", keys)
	}
	if info, err := os.Stat(keyFile); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key file: %v, %v; want mode 0600", info, err)
	}
}

// askBinding asks a STUN server for our address.
func askBinding(t *testing.T, server string) {
	t.Helper()
	c, err := net.Dial("udp", server)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	id, err := stun.NewID(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(stun.Binding(id, stun.PaysForMapped)); err != nil {
		t.Fatal(err)
	}
	c.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 2000)
	n, err := c.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := stun.Parse(buf[:n])
	if err != nil {
		t.Fatal(err)
	}
	if a, err := stun.GetXORAddress(answer, pion.AttrXORMappedAddress); err != nil || a.String() != c.LocalAddr().String() {
		t.Errorf("the server says %v (%v), we are %v", a, err, c.LocalAddr())
	}
}
