package service

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// watched is a service that watches one file of words.
type watched struct {
	service *Service
	file    string
	log     bytes.Buffer
	loaded  []string
	hangup  chan os.Signal
}

// watch runs f beside a service that watches a file, in simulated time.
func watch(t *testing.T, f func(w *watched)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		w := &watched{file: filepath.Join(dir, "words"), hangup: make(chan os.Signal, 1)}
		w.write(t, "one")
		log, err := NewLog(&w.log, "text", "info")
		if err != nil {
			t.Fatal(err)
		}
		w.service = newService(t, Config{Log: log, Reload: w.hangup})
		w.service.Watch("words", func() error {
			text, err := os.ReadFile(w.file)
			if err != nil {
				return err
			}
			if bytes.Contains(text, []byte("!")) {
				return errors.New("words:1: no word has a !")
			}
			w.loaded = append(w.loaded, string(text))
			return nil
		}, w.file)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- w.service.Run(ctx) }()
		synctest.Wait()
		f(w)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// write replaces the file as careful programs do: by renaming another one.
func (w *watched) write(t *testing.T, text string) {
	t.Helper()
	other := w.file + ".new"
	if err := os.WriteFile(other, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(other, w.file); err != nil {
		t.Fatal(err)
	}
}

// expect waits for a look at the files, then compares what was loaded since the
// last time.
func (w *watched) expect(t *testing.T, want ...string) {
	t.Helper()
	time.Sleep(3 * time.Second)
	synctest.Wait()
	if got := strings.Join(w.loaded, " "); got != strings.Join(want, " ") {
		t.Errorf("loaded %q, want %q; the log is\n%s", got, want, w.log.String())
	}
	w.loaded = nil
}

func TestAChangedFileIsReadAgain(t *testing.T) {
	watch(t, func(w *watched) {
		w.expect(t)
		w.write(t, "two")
		w.expect(t, "two")
		w.expect(t)
	})
}

func TestABrokenFileLeavesTheOldInUse(t *testing.T) {
	watch(t, func(w *watched) {
		w.write(t, "broken!")
		w.expect(t)
		if n := strings.Count(w.log.String(), "no word has a !"); n != 1 || !strings.Contains(w.log.String(), w.file) {
			t.Errorf("it was told %d times, want once, with the file:\n%s", n, w.log.String())
		}
		if _, text := get(t, w.service.Handler(), "/metrics"); !strings.Contains(text, `p2pmodel_reload_current{name="words"} 0`) ||
			!strings.Contains(text, `p2pmodel_reloads_total{name="words",result="failed"} 1`) {
			t.Errorf("metrics do not tell:\n%s", text)
		}
		w.write(t, "three")
		w.expect(t, "three")
		if err := os.Remove(w.file); err != nil {
			t.Fatal(err)
		}
		w.expect(t)
		w.write(t, "four")
		w.expect(t, "four")
	})
}

func TestAHangupReadsWhatLooksUnchanged(t *testing.T) {
	watch(t, func(w *watched) {
		w.hangup <- syscall.SIGHUP
		w.expect(t, "one")
	})
}
