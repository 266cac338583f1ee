package play

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"p2pmodel/core/peer"
	"p2pmodel/core/shard/field"
)

// Summary is what bots have measured. Times are in milliseconds.
type Summary struct {
	Bots     int     `json:"bots"`
	LoggedIn int64   `json:"logged_in"`
	InRooms  int64   `json:"in_rooms"`
	Playing  int     `json:"playing"`
	Ended    int64   `json:"sessions_ended"`
	Seconds  float64 `json:"seconds"`
	// Requests are those that were answered, by method; "load" those of --rate,
	// from when they were due.
	Requests map[string]Quantiles `json:"requests"`
	// Failures are those that were not, by method and kind.
	Failures map[string]uint64 `json:"failures"`
	// AgentsLost counts connections that broke, Resumes has how long sessions
	// were without one, Moves how long after RoomMoved a player was at the other
	// servers.
	AgentsLost uint64    `json:"agents_lost"`
	Resumes    Quantiles `json:"resumes"`
	Moves      Quantiles `json:"moves"`
	// Ticks is the time between ticks of a player, Gaps that between datagrams of
	// one player at another: both should be TickMs.
	TickMs float64   `json:"tick_ms"`
	Ticks  Quantiles `json:"ticks"`
	Gaps   Quantiles `json:"gaps"`
	// Datagrams of the game, and Loss as the receivers count it, 0 to 1.
	Sent     uint64  `json:"datagrams_sent"`
	Received uint64  `json:"datagrams_received"`
	Loss     float64 `json:"loss"`
	// Paths are the players' paths to others, by kind.
	Paths map[string]int `json:"paths"`
	RTT   Quantiles      `json:"rtt"`
	// Memory of this process, in bytes: all, and what each bot adds.
	ResidentBytes       uint64 `json:"resident_bytes"`
	ResidentBytesPerBot uint64 `json:"resident_bytes_per_bot"`
	Goroutines          int    `json:"goroutines"`
	// Farewell is what finishing, leaving and logging out took each bot.
	Farewell Quantiles `json:"farewell"`
}

// Quantiles are those of durations.
type Quantiles struct {
	Count uint64  `json:"count"`
	P50   float64 `json:"p50_ms"`
	P99   float64 `json:"p99_ms"`
	P999  float64 `json:"p999_ms"`
	Max   float64 `json:"max_ms"`
}

func (h *histogram) quantiles() Quantiles {
	return Quantiles{h.n, milliseconds(h.quantile(0.5)), milliseconds(h.quantile(0.99)), milliseconds(h.quantile(0.999)), milliseconds(h.max)}
}

// summary is what there is now; before is the process' memory without bots.
func (b *bots) summary(before uint64) *Summary {
	now := time.Now()
	s := &Summary{
		Bots: len(b.all), LoggedIn: b.loggedIn.Load(), InRooms: b.inRooms.Load(), Ended: b.lost.Load(), Seconds: now.Sub(b.begun).Seconds(),
		TickMs: milliseconds(field.TickInterval), Requests: map[string]Quantiles{}, Failures: map[string]uint64{}, Paths: map[string]int{},
		Goroutines: runtime.NumGoroutine(),
	}
	var ticks, gaps, rtt histogram
	var lost uint64
	for _, me := range b.all {
		if session := me.session.Load(); session != nil {
			lost += session.game.addTo(now, s, &ticks, &gaps, &rtt)
		}
	}
	s.Ticks, s.Gaps, s.RTT = ticks.quantiles(), gaps.quantiles(), rtt.quantiles()
	if all := s.Received + lost; all > 0 {
		s.Loss = float64(lost) / float64(all)
	}
	b.measures.addTo(s)
	s.ResidentBytes = resident()
	if s.ResidentBytes > before && s.LoggedIn > 0 {
		s.ResidentBytesPerBot = (s.ResidentBytes - before) / uint64(s.LoggedIn)
	}
	return s
}

// addTo adds one player's measurements, and gives how many datagrams it missed.
func (g *game) addTo(now time.Time, s *Summary, ticks, gaps, rtt *histogram) (lost uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	ticks.merge(&g.ticks)
	gaps.merge(&g.gaps)
	s.Sent += g.sent
	if !g.began.IsZero() {
		s.Playing++
	}
	for _, r := range g.rows(now) {
		s.Paths[pathKind(r.path)]++
		s.Received += r.link.Received
		lost += r.link.Lost
		if r.path.Kind != peer.NoPath && r.link.RTT > 0 {
			rtt.add(r.link.RTT)
		}
	}
	return lost
}

func (m *measures) addTo(s *Summary) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for method, h := range m.requests {
		s.Requests[method] = h.quantiles()
	}
	for what, n := range m.failures {
		s.Failures[what] = n
	}
	s.AgentsLost, s.Resumes, s.Moves = m.lost, m.resumes.quantiles(), m.moves.quantiles()
}

// farewell measures how long a bot takes to end.
func (m *measures) farewell(stop func() error) {
	begun := time.Now()
	_ = stop() // the requests in it are counted by themselves
	m.mu.Lock()
	defer m.mu.Unlock()
	m.farewells.add(time.Since(begun))
}

// addFarewell adds what came of the end.
func (b *bots) addFarewell(s *Summary) {
	b.measures.mu.Lock()
	defer b.measures.mu.Unlock()
	s.Farewell = b.measures.farewells.quantiles()
	for _, method := range []string{"Finish", "Logout"} {
		if h := b.measures.requests[method]; h != nil {
			s.Requests[method] = h.quantiles()
		}
	}
	for what, n := range b.measures.failures {
		if strings.HasPrefix(what, "Finish: ") || strings.HasPrefix(what, "Logout: ") {
			s.Failures[what] = n
		}
	}
}

// table prints the summary for people.
func (s *Summary) table(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(out, "%d bots: %d logged in, %d in rooms, %d playing, %d sessions ended, in %.1f s\n", s.Bots, s.LoggedIn, s.InRooms, s.Playing, s.Ended, s.Seconds)
	fmt.Fprintln(w, "\tcount\tp50\tp99\tp99.9\tmax\t")
	line := func(name string, q Quantiles) {
		if q.Count > 0 {
			fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\t\n", name, q.Count, ms(q.P50), ms(q.P99), ms(q.P999), ms(q.Max))
		}
	}
	for _, method := range sorted(s.Requests) {
		line(method, s.Requests[method])
	}
	line("resumes", s.Resumes)
	line("moves", s.Moves)
	line("ticks", s.Ticks)
	line("gaps", s.Gaps)
	line("round trips", s.RTT)
	line("farewell", s.Farewell)
	if err := w.Flush(); err != nil {
		return err
	}
	for _, what := range sorted(s.Failures) {
		fmt.Fprintf(out, "failed: %s: %d\n", what, s.Failures[what])
	}
	if s.Sent > 0 {
		fmt.Fprintf(out, "datagrams: %d sent, %d received, %s lost; paths:", s.Sent, s.Received, percent(s.Loss))
		for _, k := range sorted(s.Paths) {
			fmt.Fprintf(out, " %d %s", s.Paths[k], k)
		}
		fmt.Fprintln(out)
	}
	_, err := fmt.Fprintf(out, "memory: %.1f MiB, %.0f KiB a bot; %d goroutines\n", float64(s.ResidentBytes)/(1<<20), float64(s.ResidentBytesPerBot)/(1<<10), s.Goroutines)
	return err
}

func (s *Summary) json(out io.Writer) error {
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(s)
}

// ms writes milliseconds for people.
func ms(v float64) string {
	if v < 10 {
		return fmt.Sprintf("%.2f ms", v)
	}
	return fmt.Sprintf("%.0f ms", v)
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
