package directory

import (
	"errors"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"p2pmodel/core/shard/rpc"
)

type metrics struct {
	shards     *prometheus.GaugeVec
	heartbeats *prometheus.CounterVec
	detection  prometheus.Histogram
	placements *prometheus.CounterVec
	moved      *prometheus.CounterVec
	ended      prometheus.Counter
	refused    prometheus.Counter
	sessions   *prometheus.CounterVec
	open       prometheus.Gauge
}

func newMetrics(r prometheus.Registerer, member int) (*metrics, error) {
	if r != nil {
		r = prometheus.WrapRegistererWith(prometheus.Labels{"member": strconv.Itoa(member)}, r)
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "p2pmodel_directory_" + name, Help: help}, labels)
	}
	m := &metrics{
		shards: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "p2pmodel_directory_shards", Help: "Shards by state: alive, draining, dead.",
		}, []string{"state"}),
		heartbeats: counters("heartbeats_total", "Heartbeats answered, by whether the lease was granted.", "granted"),
		detection: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "p2pmodel_directory_detection_seconds",
			Help:    "From a shard's last heartbeat to its being declared dead here.",
			Buckets: []float64{1.9, 2, 2.05, 2.1, 2.2, 2.3, 2.5, 2.75, 3, 4, 6, 10},
		}),
		placements: counters("placements_total", "Rooms asked for, by outcome.", "code"),
		moved:      counters("rooms_moved_total", "Rooms given to another shard, by reason.", "reason"),
		ended: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "p2pmodel_directory_rooms_ended_total", Help: "Rooms that ended because no shard could take them.",
		}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "p2pmodel_directory_writes_refused_total", Help: "Writes of shards to rooms that are not theirs.",
		}),
		sessions: counters("sessions_total", "What happened to sessions and their tokens.", "event"),
		open: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "p2pmodel_directory_sessions", Help: "Sessions at the last look, each 15 s.",
		}),
	}
	if r == nil {
		return m, nil
	}
	return m, errors.Join(r.Register(m.shards), r.Register(m.heartbeats), r.Register(m.detection), r.Register(m.placements),
		r.Register(m.moved), r.Register(m.ended), r.Register(m.refused), r.Register(m.sessions), r.Register(m.open))
}

func (m *metrics) heartbeat(granted bool) {
	if granted {
		m.heartbeats.WithLabelValues("yes").Inc()
	} else {
		m.heartbeats.WithLabelValues("no").Inc()
	}
}

func (m *metrics) placed(err error) {
	code := "ok"
	if err != nil {
		code = rpc.CodeOf(err).String()
	}
	m.placements.WithLabelValues(code).Inc()
}
