package service

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// watcher reads files again when they change. It looks at them rather than
// waiting for the kernel's word: that works on every file system, and sees
// Kubernetes swap the link above a mounted secret.
type watcher struct {
	log     *slog.Logger
	every   time.Duration
	reloads *prometheus.CounterVec
	current *prometheus.GaugeVec

	mu   sync.Mutex
	sets []*fileSet
}

// fileSet is files that are loaded together.
type fileSet struct {
	name  string
	load  func() error
	files []string
	seen  string // what the files were like when they were loaded last
	fault string // what was wrong with them then
}

func newWatcher(log *slog.Logger, metrics prometheus.Registerer, every time.Duration) *watcher {
	w := &watcher{
		log: log, every: every,
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "p2pmodel_reloads_total",
			Help: "Files that were read again after a change or a SIGHUP, by name and result (ok, failed).",
		}, []string{"name", "result"}),
		current: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "p2pmodel_reload_current",
			Help: "1 if what is in use is what the files hold, 0 if the files are broken and what was read before is in use.",
		}, []string{"name"}),
	}
	metrics.MustRegister(w.reloads, w.current)
	return w
}

func (w *watcher) add(name string, load func() error, files []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sets = append(w.sets, &fileSet{name: name, load: load, files: files, seen: stamp(files)})
	w.current.WithLabelValues(name).Set(1)
}

func (w *watcher) run(ctx context.Context, asked <-chan os.Signal, tell notifier) {
	tick := time.NewTicker(w.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			w.look(false)
		case <-asked:
			tell.reloading()
			w.log.Info("reading all files again")
			w.look(true)
			tell.send("READY=1")
		}
	}
}

// look loads what has changed, or everything.
func (w *watcher) look(all bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, set := range w.sets {
		now := stamp(set.files)
		// What could not be loaded is tried again: its files may have been
		// changed within the same tick of the file system's clock.
		if all || now != set.seen || set.fault != "" {
			set.seen = now
			w.load(set)
		}
	}
}

func (w *watcher) load(set *fileSet) {
	if err := set.load(); err != nil {
		w.current.WithLabelValues(set.name).Set(0)
		if set.fault != err.Error() {
			w.reloads.WithLabelValues(set.name, "failed").Inc()
			w.log.Error("the files are broken; what was read before stays in use",
				"name", set.name, "files", strings.Join(set.files, ", "), "error", err)
		}
		set.fault = err.Error()
		return
	}
	set.fault = ""
	w.current.WithLabelValues(set.name).Set(1)
	w.reloads.WithLabelValues(set.name, "ok").Inc()
	w.log.Info("read again", "name", set.name, "files", strings.Join(set.files, ", "))
}

// stamp tells one state of files from another.
func stamp(files []string) string {
	var b strings.Builder
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			b.WriteString("missing;")
			continue
		}
		fmt.Fprintf(&b, "%s,%d,%s;", strconv.FormatInt(info.ModTime().UnixNano(), 36), info.Size(), inode(info))
	}
	return b.String()
}
