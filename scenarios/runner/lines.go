package runner

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"

	"p2pmodel/sim"
)

// lines passes on what a program prints, a line at a time, and keeps the last few
// of them.
type lines struct {
	take func(text string)

	mu   sync.Mutex
	rest []byte
	kept []string
}

const (
	keptLines  = 20
	tailLines  = 3
	longestRow = 4096
)

// Write implements io.Writer.
func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	l.rest = append(l.rest, p...)
	var whole []string
	for {
		i := bytes.IndexByte(l.rest, '\n')
		if i < 0 && len(l.rest) < longestRow {
			break
		}
		if i < 0 {
			i = len(l.rest) - 1
		}
		whole = append(whole, string(bytes.TrimRight(l.rest[:i+1], "\r\n")))
		l.rest = l.rest[i+1:]
	}
	l.kept = append(l.kept, whole...)
	l.kept = l.kept[max(0, len(l.kept)-keptLines):]
	l.mu.Unlock()
	for _, text := range whole {
		l.take(text)
	}
	return len(p), nil
}

// has reports whether one of the last lines has a text in it.
func (l *lines) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(strings.Join(l.kept, "\n"), text)
}

// tail is the last of what was printed.
func (l *lines) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.kept) == 0 {
		return "nothing"
	}
	return strings.Join(l.kept[max(0, len(l.kept)-tailLines):], " / ")
}

// healthy asks a server on a host's loopback whether it is ready; the error says
// what it lacks.
func healthy(ctx context.Context, h sim.RunningHost, port int) error {
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		return h.Dial(ctx, network, address)
	}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/readyz", port), nil)
	if err != nil {
		return err
	}
	answer, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, longestRow))
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", answer.Status, strings.TrimSpace(string(body)))
	}
	return nil
}
