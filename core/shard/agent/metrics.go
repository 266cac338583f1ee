package agent

import (
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what an Agent tells of itself. Labels have a few values each:
// nothing that a client sends becomes one.
type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	rejected *prometheus.CounterVec
	events   *prometheus.CounterVec
	ended    *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer, s *Server) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "p2pmodel_agent_requests_total", Help: "Requests of clients, by method and code.",
		}, []string{"method", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "p2pmodel_agent_request_seconds", Help: "Time from a request's header to its answer, event streams left out, by method.",
			Buckets: []float64{.0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5},
		}, []string{"method"}),
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "p2pmodel_agent_rejected_total", Help: "Connections and requests beyond a limit, by reason.",
		}, []string{"reason"}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "p2pmodel_agent_events_total", Help: "Events for sessions, by what became of them: sent, dropped or malformed.",
		}, []string{"fate"}),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "p2pmodel_agent_sessions_ended_total", Help: "Sessions that are attached here no more, by reason.",
		}, []string{"reason"}),
	}
	gauge := func(name, help string, f func() int64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "p2pmodel_agent_" + name, Help: help}, func() float64 { return float64(f()) })
	}
	if r == nil {
		return m, nil
	}
	var errs []error
	for _, c := range []prometheus.Collector{
		m.requests, m.seconds, m.rejected, m.events, m.ended,
		gauge("sessions", "Sessions that are attached here.", func() int64 { return int64(s.sessions.count()) }),
		gauge("streams", "Event streams that are open.", s.streams.Load),
		gauge("connections", "Connections of clients.", func() int64 { return int64(s.addresses.connections()) }),
		gauge("requests_in_work", "Requests in work, event streams left out.", s.requests.Load),
		gauge("inside_in_flight", "Requests that are asking the inside.", func() int64 { return int64(len(s.gate.inside)) }),
		gauge("inside_queue", "Requests that wait to ask the inside.", s.gate.waiting.Load),
	} {
		errs = append(errs, r.Register(c))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return m, nil
}

func (m *metrics) reject(reason string) { m.rejected.WithLabelValues(reason).Inc() }

func (m *metrics) request(method, code string, took time.Duration, stream bool) {
	m.requests.WithLabelValues(method, code).Inc()
	if !stream {
		m.seconds.WithLabelValues(method).Observe(took.Seconds())
	}
}
