package sansio

import (
	"bytes"
	"net/netip"
	"testing"
)

// TestWhatFollowsEachOtherLeavesAsOne: datagrams of one size to one address are joined, the
// last of them perhaps shorter, and nothing else is; in which order they leave does not
// change.
func TestWhatFollowsEachOtherLeavesAsOne(t *testing.T) {
	a, b := netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.1:2")
	local := netip.MustParseAddr("192.0.2.9")
	type datagram struct {
		outgoing
		size int
	}
	to := func(remote netip.AddrPort, sizes ...int) (ds []datagram) {
		for _, size := range sizes {
			ds = append(ds, datagram{outgoing{remote: remote}, size})
		}
		return ds
	}
	many := make([]int, maxSegments+1)
	for i := range many {
		many[i] = 100
	}
	for name, c := range map[string]struct {
		ds   []datagram
		want []int // bytes of each outgoing
	}{
		"nothing":                   {nil, nil},
		"one size":                  {to(a, 100, 100, 100), []int{300}},
		"a shorter one ends it":     {to(a, 100, 100, 50, 50, 100), []int{250, 50, 100}},
		"a longer one begins anew":  {to(a, 100, 101, 101), []int{100, 202}},
		"empty ones stay alone":     {to(a, 0, 0, 100, 0), []int{0, 0, 100, 0}},
		"two addresses":             {append(to(a, 100), append(to(b, 100), to(a, 100)...)...), []int{100, 100, 100}},
		"another source":            {append(to(a, 100), datagram{outgoing{remote: a, local: local}, 100}), []int{100, 100}},
		"whole or not":              {append(to(a, 100), datagram{outgoing{remote: a, whole: true}, 100}), []int{100, 100}},
		"as many as the kernel may": {to(a, many...), []int{maxSegments * 100, 100}},
		"as long as the kernel may": {to(a, 30000, 30000, 30000), []int{60000, 30000}},
	} {
		for _, join := range []bool{true, false} {
			var d departures
			var payload []byte
			for i, one := range c.ds {
				data := bytes.Repeat([]byte{byte(i)}, one.size)
				payload = append(payload, data...)
				d.add(one.outgoing, data[:one.size/3], data[one.size/3:], join)
			}
			if !bytes.Equal(d.payload, payload) || d.count != len(c.ds) {
				t.Errorf("%s: %d datagrams with %d bytes, want %d with %d in order", name, d.count, len(d.payload), len(c.ds), len(payload))
			}
			want := c.want
			if !join {
				want = nil
				for _, one := range c.ds {
					want = append(want, one.size)
				}
			}
			at := 0
			for i, o := range d.list {
				if i >= len(want) || o.start != at || o.end-o.start != want[i] {
					t.Fatalf("%s, join %v: outgoing %d is %+v, want sizes %v one after the other", name, join, i, o, want)
				}
				at = o.end
			}
			if len(d.list) != len(want) {
				t.Errorf("%s, join %v: %d outgoing, want %v", name, join, len(d.list), want)
			}
		}
	}
}
