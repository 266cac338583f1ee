package relay

import (
	"fmt"
	"slices"
	"time"

	"p2pmodel/ci/bench/measure"
)

// Result is what came of all rounds, with every sample.
type Result struct {
	Schema  int             `json:"schema"` // 1
	At      time.Time       `json:"at"`
	Machine measure.Machine `json:"machine"`
	Flows   int             `json:"flows"`
	Rounds  int             `json:"rounds"`
	// Seconds is how long each measurement took.
	Seconds float64  `json:"seconds"`
	Cells   []Cell   `json:"cells"`
	Memory  []Memory `json:"memory,omitempty"`
	Growth  []Growth `json:"growth,omitempty"`
}

// Growth is what a datagram costs a relay that has more and more allocations, or a forwarder
// with as many clients, all active in turn.
type Growth struct {
	System string        `json:"system"`
	Points []GrowthPoint `json:"points"`
}

// GrowthPoint is one number of allocations: processor time for a datagram and the process'
// memory in bytes, round by round.
type GrowthPoint struct {
	Allocations int       `json:"allocations"`
	Nanoseconds []float64 `json:"ns_per_packet"`
	Resident    []int64   `json:"resident"`
}

// Cell is one system with one kind of load.
type Cell struct {
	System string `json:"system"`
	Load
	Samples []Sample `json:"samples"`
}

// Load is a kind of load: payloads of Size bytes, Burst of one flow after another, from clients
// to a peer or the other way, which only relays know.
type Load struct {
	Size  int  `json:"size"`
	Burst int  `json:"burst"`
	Down  bool `json:"down"`
}

// String says so.
func (l Load) String() string {
	way := "from clients to a peer"
	if l.Down {
		way = "from a peer to clients"
	}
	if l.Burst == 1 {
		return fmt.Sprintf("%d bytes %s, each datagram of another flow than the one before", l.Size, way)
	}
	return fmt.Sprintf("%d bytes %s, %d datagrams of a flow after another", l.Size, way, l.Burst)
}

// Sample is what one round said.
type Sample struct {
	// Rate is the most datagrams a second that came out while a bounded number was on the
	// way; Nanoseconds is the processor time of the system for each of them, and Busy
	// the share of its processor that it had.
	Rate        float64 `json:"rate"`
	Nanoseconds float64 `json:"ns_per_packet"`
	Busy        float64 `json:"busy"`
	// LoadLimited: the load could not keep the system busy, so that Rate is too low.
	LoadLimited bool `json:"load_limited"`
	// At 70 % of Rate: the share that was lost, and how long datagrams took.
	Loss  float64 `json:"loss_at_70"`
	Lost  uint64  `json:"lost_at_70"`
	P50At float64 `json:"p50_us_at_70"`
	P99At float64 `json:"p99_us_at_70"`
	// At a rate that is the same for all.
	P50               float64 `json:"p50_us"`
	P99               float64 `json:"p99_us"`
	NanosecondsCommon float64 `json:"ns_per_packet_at_common_rate"`
}

// Whole is what Rate would be if the system had all of its processor: it says more than
// Rate where others use it, too.
func (s Sample) Whole() float64 {
	if s.Nanoseconds <= 0 {
		return 0
	}
	return 1e9 / s.Nanoseconds
}

// Memory is what allocations cost.
type Memory struct {
	System      string `json:"system"`
	Allocations int    `json:"allocations"`
	// Resident is memory of the process in bytes, before and with them.
	Before int64 `json:"before"`
	With   int64 `json:"with"`
}

// Each is bytes an allocation.
func (m Memory) Each() float64 { return float64(m.With-m.Before) / float64(max(m.Allocations, 1)) }

// Limited says that the load was the limit in most rounds.
func (c Cell) Limited() bool {
	n := 0
	for _, s := range c.Samples {
		if s.LoadLimited {
			n++
		}
	}
	return 2*n > len(c.Samples)
}

// cell is that of a system and a load, or nil.
func (r *Result) cell(system string, l Load) *Cell {
	i := slices.IndexFunc(r.Cells, func(c Cell) bool { return c.System == system && c.Load == l })
	if i < 0 {
		return nil
	}
	return &r.Cells[i]
}
