package signalling

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// Mailbox is a side's access to a server.
type Mailbox struct {
	// Server is its URL, "http://198.18.0.4:8080".
	Server string
	// Own is the name that the others write to, Other whom we write to.
	Own, Other string
}

// tell leaves a message for the other side.
func (b Mailbox) tell(ctx context.Context, m Message) error {
	body, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("signalling: %w", err)
	}
	answer, err := b.ask(ctx, http.MethodPost, "/"+url.PathEscape(b.Other), bytes.NewReader(body))
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, answer.Body)
	_ = answer.Body.Close()
	return err
}

// ask gives an answer that is well.
func (b Mailbox) ask(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, b.Server+path, body)
	if err != nil {
		return nil, fmt.Errorf("signalling: %w", err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("signalling: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		_ = answer.Body.Close()
		return nil, fmt.Errorf("signalling: %s %s: %s", method, path, answer.Status)
	}
	return answer, nil
}

// listen passes on what comes for us, in order, until ctx ends.
func (b Mailbox) listen(ctx context.Context, take func(Message) error) error {
	for seen := 0; ctx.Err() == nil; {
		answer, err := b.ask(ctx, http.MethodGet, fmt.Sprintf("/%s?after=%d", url.PathEscape(b.Own), seen), nil)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		var mail []Message
		err = json.NewDecoder(io.LimitReader(answer.Body, maxMail*maxMessage)).Decode(&mail)
		_ = answer.Body.Close()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
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
