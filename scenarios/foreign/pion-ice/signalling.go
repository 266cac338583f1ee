package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// message is what peers tell each other: credentials once, and candidates as they
// come.
type message struct {
	Ufrag     string `json:"ufrag,omitempty"`
	Password  string `json:"password,omitempty"`
	Candidate string `json:"candidate,omitempty"`
	Complete  bool   `json:"complete,omitempty"` // no more candidates: pion/ice does not ask
	Lite      bool   `json:"lite,omitempty"`     // with credentials
	// Options are ice-options, with credentials.
	Options []string `json:"options,omitempty"`
}

const (
	pollTime    = 5 * time.Second // how long a question for mail is kept open
	mostMail    = 1000
	mostMessage = 4096 // bytes
)

// mailboxes are messages by who they are for.
type mailboxes struct {
	mu    sync.Mutex
	mail  map[string][]json.RawMessage
	fresh chan struct{} // closed and replaced with each message
}

// serve serves POST /NAME, which leaves a message for NAME, and GET /NAME?after=N,
// which waits for those after the first N.
func serve(ctx context.Context, listen string) error {
	boxes := &mailboxes{mail: map[string][]json.RawMessage{}, fresh: make(chan struct{})}
	server := &http.Server{Addr: listen, Handler: boxes, ReadHeaderTimeout: pollTime}
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (b *mailboxes) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodPost:
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, mostMessage))
		if err != nil || !json.Valid(body) {
			http.Error(w, "this is no message", http.StatusBadRequest)
			return
		}
		if !b.leave(r.URL.Path, body) {
			http.Error(w, "the mailbox is full", http.StatusInsufficientStorage)
		}
	case http.MethodGet:
		after, _ := strconv.Atoi(r.URL.Query().Get("after"))
		_ = json.NewEncoder(w).Encode(b.wait(r.Context(), r.URL.Path, max(after, 0)))
	default:
		http.Error(w, "GET or POST", http.StatusMethodNotAllowed)
	}
}

func (b *mailboxes) leave(name string, m json.RawMessage) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.mail[name]) >= mostMail {
		return false
	}
	b.mail[name] = append(b.mail[name], m)
	close(b.fresh)
	b.fresh = make(chan struct{})
	return true
}

func (b *mailboxes) wait(ctx context.Context, name string, after int) []json.RawMessage {
	ctx, cancel := context.WithTimeout(ctx, pollTime)
	defer cancel()
	for {
		b.mu.Lock()
		all, fresh := b.mail[name], b.fresh
		b.mu.Unlock()
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

// tell leaves a message for a peer.
func tell(ctx context.Context, server, name string, m message) error {
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, server+"/"+name, bytes.NewReader(body))
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, answer.Body)
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("signalling: %s", answer.Status)
	}
	return nil
}

// listen passes on what comes for a peer, until ctx ends.
func listen(ctx context.Context, server, name string, take func(message) error) error {
	for seen := 0; ctx.Err() == nil; {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/%s?after=%d", server, name, seen), nil)
		if err != nil {
			return err
		}
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		var mail []message
		err = json.NewDecoder(answer.Body).Decode(&mail)
		_ = answer.Body.Close()
		if err != nil {
			return fmt.Errorf("signalling: %w", err)
		}
		for _, m := range mail {
			seen++
			if err := take(m); err != nil {
				return err
			}
		}
	}
	return nil
}
