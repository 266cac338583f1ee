package signalling

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

const (
	pollTime    = 5 * time.Second // how long a question for mail is kept open
	maxMail     = 1000            // messages of a mailbox
	maxBoxes    = 1000
	maxMessage  = 4096 // bytes
	headerLimit = 5 * time.Second
)

// Server is mailboxes, as an http.Handler. Make it with NewServer.
type Server struct {
	mu    sync.Mutex
	mail  map[string][]json.RawMessage
	fresh chan struct{} // closed and replaced with each message
}

// NewServer makes a server without mail.
func NewServer() *Server {
	return &Server{mail: map[string][]json.RawMessage{}, fresh: make(chan struct{})}
}

// Serve serves on a listener until ctx ends.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{Handler: s, ReadHeaderTimeout: headerLimit, BaseContext: func(net.Listener) context.Context { return ctx }}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve signalling: %w", err)
	}
	return nil
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodPost:
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxMessage))
		var m Message
		if err != nil || json.Unmarshal(body, &m) != nil {
			http.Error(w, "this is no message", http.StatusBadRequest)
			return
		}
		if !s.leave(r.URL.Path, body) {
			http.Error(w, "the mailbox is full", http.StatusInsufficientStorage)
		}
	case http.MethodGet:
		after, _ := strconv.Atoi(r.URL.Query().Get("after"))
		_ = json.NewEncoder(w).Encode(s.wait(r.Context(), r.URL.Path, max(after, 0)))
	default:
		http.Error(w, "GET or POST", http.StatusMethodNotAllowed)
	}
}

func (s *Server) leave(name string, m json.RawMessage) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	box, known := s.mail[name]
	if len(box) >= maxMail || !known && len(s.mail) >= maxBoxes {
		return false
	}
	s.mail[name] = append(box, m)
	close(s.fresh)
	s.fresh = make(chan struct{})
	return true
}

func (s *Server) wait(ctx context.Context, name string, after int) []json.RawMessage {
	ctx, cancel := context.WithTimeout(ctx, pollTime)
	defer cancel()
	for {
		s.mu.Lock()
		all, fresh := s.mail[name], s.fresh
		s.mu.Unlock()
		if len(all) > after {
			return all[after:]
		}
		select {
		case <-fresh:
		case <-ctx.Done():
			return []json.RawMessage{}
		}
	}
}
