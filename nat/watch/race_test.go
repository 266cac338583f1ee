package watch_test

import (
	"strings"
	"testing"
	"time"

	"p2pmodel/nat/table"
	"p2pmodel/nat/watch"
)

// held observes all in order, and gives what was held against the NAT.
func held(t *testing.T, behavior string, all ...watch.Observation) (why []string) {
	t.Helper()
	w, err := watch.New(parse(t, behavior), external[:1])
	if err != nil {
		t.Fatal(err)
	}
	watch.Race(all)
	for _, o := range all {
		if v := w.Observe(o); v != nil {
			why = append(why, v.Why)
		}
	}
	return why
}

func at(ms float64) time.Time { return epoch.Add(time.Duration(ms * float64(time.Millisecond))) }

// out is a packet from inside that left with an external port, as in
// out(0, 0.1, "192.168.1.2:5000", "198.18.0.9:3478", "198.18.0.2:5000").
func out(from, until float64, src, dst, as string) watch.Observation {
	p := table.Packet{Src: ap(src), Dst: ap(dst)}
	left := table.Packet{Src: ap(as), Dst: ap(dst)}
	return watch.Observation{At: at(from), Until: at(until), Packet: p, Left: &left}
}

// in is a packet from outside that went to an inside endpoint; "": it was dropped.
func in(from, until float64, src, dst, to string) watch.Observation {
	o := watch.Observation{At: at(from), Until: at(until), Inbound: true, Packet: table.Packet{Src: ap(src), Dst: ap(dst)}}
	if to == "" {
		o.Dropped = "filtered"
		return o
	}
	o.Left, o.LeftInside = &table.Packet{Src: ap(src), Dst: ap(to)}, true
	return o
}

// TestRace: two packets that were in the NAT at one time may have been taken in
// either order; two that were not have one order only.
func TestRace(t *testing.T) {
	const a, b, c, one, two = "192.168.1.2:5000", "192.168.1.3:5000", "192.168.1.2:7000", "198.18.0.9:3478", "198.18.0.10:3478"
	const kept, other = "198.18.0.2:5000", "198.18.0.2:1024"
	first := out(-500, -499, a, two, kept)
	for name, row := range map[string]struct {
		all  []watch.Observation
		want string
	}{
		"the answer came before the way in was open": {[]watch.Observation{first, out(0, 3, a, one, kept), in(1, 1, one, kept, "")}, ""},
		"the answer came after it":                   {[]watch.Observation{first, out(0, 3, a, one, kept), in(4, 4, one, kept, "")}, "it has to pass"},
		"it was open when the early packet passed":   {[]watch.Observation{first, in(0, 3, one, kept, a), out(1, 2, a, one, kept)}, ""},
		"it was not": {[]watch.Observation{first, in(0, 3, one, kept, a), out(4, 5, a, one, kept)}, "filtered"},
		"another one opened a way of its own": {[]watch.Observation{
			out(-500, -499, c, two, "198.18.0.2:7000"), first, out(0, 3, a, "198.18.0.11:1", kept), in(1, 2, one, "198.18.0.2:7000", c)}, "filtered"},
		"the second one was first to take the port": {[]watch.Observation{out(0, 3, a, one, other), out(1, 2, b, one, kept)}, ""},
		"the second one came later":                 {[]watch.Observation{out(0, 3, a, one, other), out(4, 5, b, one, kept)}, "was not preserved"},
		"a busy flow is no excuse": {[]watch.Observation{
			first, out(0, 1, a, one, kept), out(2, 30, a, one, kept), out(3, 30, a, one, kept), in(4, 4, one, kept, "")}, "it has to pass"},
		"nor is one for a packet that vanished": {[]watch.Observation{
			first, {At: at(0), Packet: table.Packet{Src: ap(a), Dst: ap(one)}}, out(0, 3, b, one, other)}, "it has to pass"},
	} {
		why := strings.Join(held(t, "port-restricted-cone", row.all...), "; ")
		if row.want == "" && why != "" || !strings.Contains(why, row.want) {
			t.Errorf("%s: held against it: %q, want %q", name, why, row.want)
		}
	}
}

// TestDoubtEnds: a NAT with a small table is watched again when what was not certain
// is over.
func TestDoubtEnds(t *testing.T) {
	const a, b, one = "192.168.1.2:5000", "192.168.1.3:6000", "198.18.0.9:3478"
	behavior := "port-restricted-cone,timeout=500ms,size=3"
	all := []watch.Observation{
		out(0, 0, a, one, "198.18.0.2:5000"), out(510, 510, a, one, "198.18.0.2:5000"), // was it still there?
		out(60_000, 60_000, b, one, "198.18.0.2:6000"), in(60_010, 60_010, "198.18.0.10:1", "198.18.0.2:6000", b),
	}
	if why := held(t, behavior, all...); len(why) != 1 || !strings.Contains(why[0], "filtered") {
		t.Errorf("held against it: %q", why)
	}
}

// TestDropsThatAreBelieved: for want of a port, and for no other reason.
func TestDropsThatAreBelieved(t *testing.T) {
	p := table.Packet{Src: ap("192.168.1.2:5000"), Dst: ap("198.18.0.9:3478")}
	if why := held(t, "symmetric", watch.Observation{At: at(0), Packet: p, Dropped: "no free port", Full: true}); why != nil {
		t.Errorf("held against it: %q", why)
	}
	if why := held(t, "symmetric", watch.Observation{At: at(0), Packet: p, Dropped: "filtered"}); len(why) != 1 {
		t.Errorf("a new mapping that was refused for another reason: %q", why)
	}
}

// TestConntrackWithoutAPort: the kernel says nothing of a flow that no port was free
// for.
func TestConntrackWithoutAPort(t *testing.T) {
	behavior := "linux,range=2000-2001"
	var all []watch.Observation
	for i, src := range []string{"192.168.1.2:2000", "192.168.1.2:2001"} {
		all = append(all, out(float64(i), float64(i), src, "198.18.0.9:3478", "198.18.0.2:"+src[len(src)-4:]))
	}
	lost := watch.Observation{At: at(5), Packet: table.Packet{Src: ap("192.168.1.3:7000"), Dst: ap("198.18.0.9:3478")}}
	if why := held(t, behavior, append(all, lost)...); why != nil {
		t.Errorf("held against it: %q", why)
	}
	if why := held(t, behavior, lost); len(why) != 1 {
		t.Errorf("with two free ports: %q", why)
	}
}

// TestUnknownEnds: what nobody knows the end of opens nothing for certain, and shuts
// nothing.
func TestUnknownEnds(t *testing.T) {
	const a, one, two, kept = "192.168.1.2:5000", "198.18.0.9:3478", "198.18.0.10:3478", "198.18.0.2:5000"
	gone := watch.Observation{At: at(100), Packet: table.Packet{Src: ap(a), Dst: ap(two)}, Excused: true}
	for _, to := range []string{"", a} {
		if why := held(t, "port-restricted-cone", out(0, 0, a, one, kept), gone, in(200, 200, two, kept, to)); why != nil {
			t.Errorf("it came in to %q: %q", to, why)
		}
	}
}

// TestNobodyBehindHasTheAddress: what the NAT translated as it must may leave by the
// way to everything else, since whoever had the address has another one now. What it
// sent back as it came, it did not translate.
func TestNobodyBehindHasTheAddress(t *testing.T) {
	const inside, remote, mapped = "192.168.1.2:5000", "198.18.0.9:3478", "198.18.0.2:5000"
	first := out(0, 0, inside, remote, mapped)
	back := watch.Observation{At: at(5), Inbound: true, Packet: table.Packet{Src: ap(remote), Dst: ap(mapped)}}
	back.Left = &table.Packet{Src: ap(remote), Dst: ap(inside)}
	if why := held(t, "port-restricted-cone", first, back); why != nil {
		t.Errorf("held against it: %q", why)
	}
	back.Left = &back.Packet
	if why := held(t, "port-restricted-cone", first, back); len(why) != 1 {
		t.Errorf("what was not translated: %q", why)
	}
}
