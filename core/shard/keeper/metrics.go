package keeper

import (
	"errors"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	held, epoch, term, draining prometheus.Gauge
	lapses                      prometheus.Counter
	heartbeats                  *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer, shard string) (*metrics, error) {
	labels := prometheus.Labels{"shard": shard}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels})
	}
	m := &metrics{
		held:     gauge("p2pmodel_lease_held", "1 while the shard holds its lease."),
		epoch:    gauge("p2pmodel_lease_epoch", "The shard's epoch."),
		term:     gauge("p2pmodel_lease_term", "Grows when the lease was gained after it may have been another's."),
		draining: gauge("p2pmodel_lease_draining", "1 while the shard shall empty itself."),
		lapses: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "p2pmodel_lease_lapses_total", Help: "How often the lease was lost.", ConstLabels: labels,
		}),
		heartbeats: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "p2pmodel_lease_heartbeats_failed_total", Help: "Heartbeats that a directory did not answer.", ConstLabels: labels,
		}, []string{"member", "code"}),
	}
	if r == nil {
		return m, nil
	}
	return m, errors.Join(r.Register(m.held), r.Register(m.epoch), r.Register(m.term), r.Register(m.draining),
		r.Register(m.lapses), r.Register(m.heartbeats))
}

func (m *metrics) show(s State) {
	m.held.Set(number(s.Held))
	m.draining.Set(number(s.Draining))
	m.epoch.Set(float64(s.Epoch))
	m.term.Set(float64(s.Term))
}

func (m *metrics) failed(member int, code string) {
	m.heartbeats.WithLabelValues(strconv.Itoa(member), code).Inc()
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
