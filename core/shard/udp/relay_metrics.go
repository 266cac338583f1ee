package udp

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"p2pmodel/core/relay"
)

// relayMetrics reads a relay's counters when somebody asks for them: the relay itself
// has none to keep up while it forwards.
type relayMetrics struct{ of *Relay }

var (
	relayHeld = prometheus.NewDesc("p2pmodel_relay_held",
		"What the relay holds now: allocations, reservations, permissions, channels.", []string{"what"}, nil)
	relayAllocations = prometheus.NewDesc("p2pmodel_relay_allocations_total",
		"Allocations by what became of them: created, refused, turned_away (of these, while it drains), moved, deleted, expired.", []string{"event"}, nil)
	relayDatagrams = prometheus.NewDesc("p2pmodel_relay_datagrams_total",
		"Datagrams relayed, by direction: to_peers, to_clients.", []string{"direction"}, nil)
	relayPassed = prometheus.NewDesc("p2pmodel_relay_passed_by_kernel_total",
		"Of the datagrams relayed, those that the kernel has passed on by itself, by direction.", []string{"direction"}, nil)
	relayBytes = prometheus.NewDesc("p2pmodel_relay_bytes_total",
		"Bytes of application data relayed, by direction.", []string{"direction"}, nil)
	relayDropped = prometheus.NewDesc("p2pmodel_relay_dropped_total",
		"Datagrams dropped, by reason.", []string{"reason"}, nil)
	relayChallenges = prometheus.NewDesc("p2pmodel_relay_challenges_total",
		"Requests answered with 401 or 438.", nil, nil)
	relayICMP = prometheus.NewDesc("p2pmodel_relay_icmp_total",
		"ICMP errors that clients were told of.", nil, nil)
	relayDraining = prometheus.NewDesc("p2pmodel_relay_draining",
		"1 while the relay takes no new allocations.", nil, nil)
)

// Describe implements prometheus.Collector.
func (m *relayMetrics) Describe(c chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		relayHeld, relayAllocations, relayDatagrams, relayPassed, relayBytes, relayDropped, relayChallenges, relayICMP, relayDraining,
	} {
		c <- d
	}
}

// Collect implements prometheus.Collector.
func (m *relayMetrics) Collect(c chan<- prometheus.Metric) {
	var st relay.Stats
	m.of.do(func(time.Time) { st = m.of.server.Stats() })
	gauge := func(d *prometheus.Desc, v int, labels ...string) {
		c <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		c <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge(relayHeld, st.Allocations, "allocations")
	gauge(relayHeld, st.Reservations, "reservations")
	gauge(relayHeld, st.Permissions, "permissions")
	gauge(relayHeld, st.Channels, "channels")
	count(relayAllocations, st.Created, "created")
	count(relayAllocations, st.Refused, "refused")
	count(relayAllocations, st.TurnedAway, "turned_away")
	count(relayAllocations, st.Moved, "moved")
	count(relayAllocations, st.Deleted, "deleted")
	count(relayAllocations, st.Expired, "expired")
	count(relayDatagrams, st.ToPeers, "to_peers")
	count(relayDatagrams, st.ToClients, "to_clients")
	count(relayPassed, st.Passed.ToPeers, "to_peers")
	count(relayPassed, st.Passed.ToClients, "to_clients")
	count(relayBytes, st.ToPeersBytes, "to_peers")
	count(relayBytes, st.ToClientsBytes, "to_clients")
	count(relayDropped, st.DroppedMalformed, "malformed")
	count(relayDropped, st.DroppedUnsolicited, "unsolicited")
	count(relayDropped, st.DroppedBudget, "budget")
	count(relayDropped, st.DroppedNoAllocation, "no_allocation")
	count(relayDropped, st.DroppedNoPermission, "no_permission")
	count(relayDropped, st.DroppedNoChannel, "no_channel")
	count(relayDropped, st.DroppedForbidden, "forbidden")
	count(relayDropped, st.DroppedRate, "rate")
	count(relayChallenges, st.Challenged)
	count(relayICMP, st.ICMP)
	draining := 0
	if m.of.draining.Load() {
		draining = 1
	}
	gauge(relayDraining, draining)
}
