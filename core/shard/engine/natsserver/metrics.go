package natsserver

import (
	"github.com/nats-io/nats-server/v2/server"
	"github.com/prometheus/client_golang/prometheus"
)

// collector reads the server's own counts when it is scraped.
type collector struct{ s *Server }

var metrics = []struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	of   func(v *server.Varz) float64
}{
	{desc("connections", "Clients that are connected."), prometheus.GaugeValue, func(v *server.Varz) float64 { return float64(v.Connections) }},
	{desc("routes", "Connections to other nodes."), prometheus.GaugeValue, func(v *server.Varz) float64 { return float64(v.Routes) }},
	{desc("subscriptions", "Subscriptions."), prometheus.GaugeValue, func(v *server.Varz) float64 { return float64(v.Subscriptions) }},
	{desc("messages_in_total", "Messages that came in."), prometheus.CounterValue, func(v *server.Varz) float64 { return float64(v.InMsgs) }},
	{desc("messages_out_total", "Messages that went out."), prometheus.CounterValue, func(v *server.Varz) float64 { return float64(v.OutMsgs) }},
	{desc("slow_consumers_total", "Connections that were cut since they did not read."), prometheus.CounterValue, func(v *server.Varz) float64 { return float64(v.SlowConsumers) }},
	{desc("store_bytes", "Bytes of streams on disk."), prometheus.GaugeValue, func(v *server.Varz) float64 {
		if v.JetStream.Stats == nil {
			return 0
		}
		return float64(v.JetStream.Stats.Store)
	}},
	{desc("stream_errors_total", "Requests to JetStream that failed."), prometheus.CounterValue, func(v *server.Varz) float64 {
		if v.JetStream.Stats == nil {
			return 0
		}
		return float64(v.JetStream.Stats.API.Errors)
	}},
}

func desc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("p2pmodel_nats_"+name, help, nil, nil)
}

// Describe implements prometheus.Collector.
func (c collector) Describe(out chan<- *prometheus.Desc) {
	for _, m := range metrics {
		out <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	v, err := c.s.ns.Varz(nil)
	if err != nil {
		return
	}
	for _, m := range metrics {
		out <- prometheus.MustNewConstMetric(m.desc, m.kind, m.of(v))
	}
}

func register(r prometheus.Registerer, s *Server) error {
	if r == nil {
		return nil
	}
	return r.Register(collector{s})
}
