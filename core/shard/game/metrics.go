package game

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/room"
)

// metrics are those of rooms.
type metrics struct {
	tickets, published, unpublished, saves, coalesced prometheus.Counter
}

// newMetrics registers the metrics of rooms, if there is a registry.
func newMetrics(r prometheus.Registerer, s *Rooms) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "p2pmodel_shard_" + name, Help: help})
	}
	m := &metrics{
		tickets:     counter("tickets_total", "Play tickets given."),
		published:   counter("events_published_total", "Events published, one a session."),
		unpublished: counter("events_unpublished_total", "Events that the engine did not take."),
		saves:       counter("saves_total", "Records of rooms sent to the directory."),
		coalesced:   counter("saves_coalesced_total", "Changes of rooms that were saved together with another one."),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.tickets, m.published, m.unpublished, m.saves, m.coalesced, collector{s}} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) saved(e room.Save) {
	m.saves.Inc()
	m.coalesced.Add(float64(max(e.Changes-1, 0)))
}

// collector looks at the rooms when it is asked.
type collector struct{ s *Rooms }

var (
	roomsDesc   = prometheus.NewDesc("p2pmodel_shard_rooms", "Rooms by state.", []string{"state"}, nil)
	playersDesc = prometheus.NewDesc("p2pmodel_shard_players", "Places that players have in rooms.", nil, nil)
	mailDesc    = prometheus.NewDesc("p2pmodel_shard_mailbox_depth", "Requests that wait for rooms: of all, and of the room with the most.", []string{"of"}, nil)
)

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	ch <- roomsDesc
	ch <- playersDesc
	ch <- mailDesc
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	states := map[agentv1.RoomState]int{
		agentv1.RoomState_ROOM_STATE_OPEN: 0, agentv1.RoomState_ROOM_STATE_PLAYING: 0, agentv1.RoomState_ROOM_STATE_ENDED: 0,
	}
	sum, most := 0, 0
	c.s.mu.Lock()
	for _, a := range c.s.rooms {
		states[a.stateOf()]++
		sum, most = sum+len(a.mail), max(most, len(a.mail))
	}
	c.s.mu.Unlock()
	gauge := func(d *prometheus.Desc, v int, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
	for state, n := range states {
		gauge(roomsDesc, n, strings.ToLower(strings.TrimPrefix(state.String(), "ROOM_STATE_")))
	}
	gauge(playersDesc, int(c.s.players.Load()))
	gauge(mailDesc, sum, "all")
	gauge(mailDesc, most, "worst")
}
