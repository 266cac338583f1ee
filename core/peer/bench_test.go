package peer

import "testing"

// BenchmarkConnection is a whole connection of two peers behind port-restricted
// NATs on links of 20 ms: keys, registration, allocation, introduction, checks,
// nomination, and the first datagrams both ways over the direct path.
func BenchmarkConnection(b *testing.B) {
	b.ReportAllocs()
	for seed := uint64(0); b.Loop(); seed++ {
		w := newWorld(b, seed)
		x, y := w.pair(portRestricted, portRestricted, Config{})
		if !w.net.Until(10*1000*ms, settled(x, y)) {
			b.Fatal("not settled")
		}
		for _, err := range []error{x.send(y, "from x"), y.send(x, "from y")} {
			if err != nil {
				b.Fatal(err)
			}
		}
		if !w.net.Until(1000*ms, func() bool { return w.direct == 2 && len(x.got) == 1 && len(y.got) == 1 }) {
			b.Fatal("nothing arrived")
		}
	}
}
