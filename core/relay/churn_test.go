package relay

import (
	"flag"
	"net/netip"
	"runtime"
	"testing"
	"time"

	pion "github.com/pion/stun/v3"
)

var churn = flag.Int("relay.churn", 20_000, "how many allocations TestChurn makes")

// TestChurn: allocations that come and go, given up or expired, leave nothing behind.
func TestChurn(t *testing.T) {
	w := newWorld(t, func(cfg *ServerConfig) { cfg.MaxAllocationsPerUser = 1000 })
	heap := func() uint64 {
		w.events, w.closed = nil, nil
		clear(w.arrivals)
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := uint64(0)
	for i := range *churn {
		client := netip.AddrPortFrom(clientA.Addr(), uint16(10_000+i%500))
		u := w.user(client, "alice", "secret-a")
		if i >= 500 {
			w.take(client)
		}
		u.allocate()
		u.want(0, u.bindChannel(0x4000, peerX))
		w.send(client, serverAddr, appendChannelData(nil, 0x4000, []byte("data")))
		if i%3 != 0 {
			u.want(0, u.do(pion.MethodRefresh, lifetime(0)))
		}
		if i%300 == 299 {
			w.pass(DefaultLifetime + time.Minute)
		}
		if i == *churn/4 {
			before = heap()
		}
		if len(w.events) > 1000 {
			w.events, w.closed = nil, nil
			clear(w.arrivals)
		}
	}
	w.pass(2 * MaxLifetime)
	after := heap()
	if after > before+1<<20 {
		t.Errorf("%d bytes on the heap after %d allocations, %d after a quarter of them", after, *churn, before)
	}
	st := w.server.Stats()
	if st.Allocations != 0 || st.Channels != 0 || len(w.server.bySocket) != 0 || len(w.server.accounts) != 0 || len(w.server.sources) != 0 {
		t.Errorf("left: %+v, %d sockets, %d accounts, %d sources", st, len(w.server.bySocket), len(w.server.accounts), len(w.server.sources))
	}
	t.Logf("heap: %d bytes after %d allocations, %d after %d", before, *churn/4, after, *churn)
	if st.Created != uint64(*churn) || st.Expired == 0 || st.Deleted == 0 {
		t.Errorf("%+v: want %d allocations made, some expired, some given up", st, *churn)
	}
}
