package service

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestSystemdIsTold(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	next := func() string {
		buffer := make([]byte, 256)
		if err := l.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := l.Read(buffer)
		if err != nil {
			t.Fatal(err)
		}
		return string(buffer[:n])
	}
	hangup := make(chan os.Signal, 1)
	s := newService(t, Config{NotifySocket: socket, Reload: hangup})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	var told []string
	told = append(told, next())
	hangup <- syscall.SIGHUP
	told = append(told, next(), next())
	cancel()
	told = append(told, next())
	if err := <-done; err != nil {
		t.Error(err)
	}
	want := regexp.MustCompile(`^READY=1\|RELOADING=1\nMONOTONIC_USEC=[1-9][0-9]*\|READY=1\|STOPPING=1$`)
	if got := strings.Join(told, "|"); !want.MatchString(got) {
		t.Errorf("systemd was told %q", got)
	}
}

func TestNobodyListensToSystemdsSocket(t *testing.T) {
	notifier{filepath.Join(t.TempDir(), "none")}.send("READY=1") // does no harm
	notifier{}.send("READY=1")
}
