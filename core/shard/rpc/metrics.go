package rpc

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sony/gobreaker/v2"
)

// buckets are the upper bounds of durations, in seconds.
var buckets = []float64{.0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5}

type clientMetrics struct {
	seconds *prometheus.HistogramVec
	state   *prometheus.GaugeVec
}

func newClientMetrics(r prometheus.Registerer) (*clientMetrics, error) {
	m := &clientMetrics{
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "p2pmodel_rpc_call_seconds", Help: "Calls between servers as the caller saw them, by method and code.", Buckets: buckets,
		}, []string{"method", "code"}),
		state: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "p2pmodel_rpc_breaker_state", Help: "Whether a target is called: 0 yes, 1 it is tried, 2 no.",
		}, []string{"target"}),
	}
	return m, errors.Join(register(r, &m.seconds), register(r, &m.state))
}

func (m *clientMetrics) observe(method string, err error, took time.Duration) {
	m.seconds.WithLabelValues(method, codeName(err)).Observe(took.Seconds())
}

func (m *clientMetrics) breaker(target string, to gobreaker.State) {
	m.state.WithLabelValues(target).Set(float64(to))
}

func (m *clientMetrics) forget(target string) { m.state.DeleteLabelValues(target) }

type serverMetrics struct {
	seconds *prometheus.HistogramVec
	panics  prometheus.Counter
}

func newServerMetrics(r prometheus.Registerer) (*serverMetrics, error) {
	m := &serverMetrics{
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "p2pmodel_rpc_serve_seconds", Help: "Calls answered, without their wait, by method and code.", Buckets: buckets,
		}, []string{"method", "code"}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "p2pmodel_rpc_panics_total", Help: "Handlers that panicked.",
		}),
	}
	return m, errors.Join(register(r, &m.seconds), register(r, &m.panics))
}

func (m *serverMetrics) observe(method string, err error, took time.Duration) {
	m.seconds.WithLabelValues(method, codeName(err)).Observe(took.Seconds())
}

func (m *serverMetrics) panicked() { m.panics.Inc() }

func codeName(err error) string {
	if err == nil {
		return "ok"
	}
	return CodeOf(err).String()
}

// register registers a collector, or takes the one that another client or server
// of the process has registered.
func register[C prometheus.Collector](r prometheus.Registerer, c *C) error {
	if r == nil {
		return nil
	}
	err := r.Register(*c)
	var already prometheus.AlreadyRegisteredError
	if errors.As(err, &already) {
		if existing, ok := already.ExistingCollector.(C); ok {
			*c = existing
			return nil
		}
	}
	return err
}
