package witness_test

import (
	"testing"
	"time"

	"p2pmodel/sim/witness"
)

// dropped makes what a rule or a link tells of a packet.
func dropped(after time.Duration, node, link string, cause witness.Cause, src, dst string, payload []byte) witness.Drop {
	d := witness.Drop{At: start.Add(after), Node: node, Link: link, Cause: cause}
	if link == "" {
		d.Rule = "nat udp_inbound: why"
	}
	d.SetData(udp(src, dst, 0, payload))
	return d
}

func TestAttribute(t *testing.T) {
	const lostBehindA = "a:uplink out " + aIn + " " + bOut + ";nat-a:to-a in;nat-a:uplink out " + aOut + " " + bOut
	const backAndDead = "b:uplink out " + bOut + " " + aOut + ";nat-a:uplink in"
	for _, c := range []struct {
		name   string
		tell   func(s *story)
		drops  []witness.Drop
		resets []witness.Reset
		want   string // the last trace's fate
	}{
		{"a rule of the node that it came to", func(s *story) { s.way(0, payload(1), filteredAB) },
			[]witness.Drop{dropped(6*ms, "nat-b", "", "filtered", aOut, bOut, payload(1))}, nil,
			"died inside nat-b: filtered"},
		{"the firewall of the host that it was for", func(s *story) { s.way(0, payload(1), directAB) },
			[]witness.Drop{dropped(8*ms, "b", "", "firewall: may not enter", aOut, bIn, payload(1))}, nil,
			"died inside b: firewall: may not enter"},
		{"another packet of that host's", func(s *story) { s.way(0, payload(1), directAB) },
			[]witness.Drop{dropped(8*ms, "b", "", "firewall: may not enter", aOut, bIn, payload(2))}, nil,
			"entered b"},
		{"somebody else's packet", func(s *story) { s.way(0, payload(1), filteredAB) },
			[]witness.Drop{dropped(6*ms, "nat-b", "", "filtered", aOut, bOut, payload(2))}, nil,
			"died inside nat-b, after it came in at uplink"},
		{"another node's drop", func(s *story) { s.way(0, payload(1), filteredAB) },
			[]witness.Drop{dropped(6*ms, "nat-a", "", "filtered", aOut, bOut, payload(1))}, nil,
			"died inside nat-b, after it came in at uplink"},
		{"a link that it left into", func(s *story) { s.way(0, payload(1), lostBehindA) },
			[]witness.Drop{dropped(40*ms, "nat-a", "nat-a", "loss", aOut, bOut, payload(1))}, nil,
			"died on the link of nat-a, after nat-a: loss"},
		{"a link that it was to leave into, behind the translation", func(s *story) { s.way(0, payload(1), filteredAB) },
			[]witness.Drop{dropped(6*ms, "nat-b", "b", "unplugged", aOut, bIn, payload(1))}, nil,
			"died on the link of b, after nat-b: unplugged"},
		{"a link behind another node", func(s *story) { s.way(0, payload(1), filteredAB) },
			[]witness.Drop{dropped(6*ms, "nat-a", "a", "unplugged", aOut, bOut, payload(1))}, nil,
			"died inside nat-b, after it came in at uplink"},
		{"a node where nothing is captured", func(s *story) { s.way(0, payload(1), lostBehindA) },
			[]witness.Drop{dropped(30*ms, "core", "", "private address", aOut, bOut, payload(1))}, nil,
			"died inside core: private address"},
		{"a rule, much later", func(s *story) { s.way(0, payload(1), filteredAB) },
			[]witness.Drop{dropped(500*ms, "nat-b", "", "filtered", aOut, bOut, payload(1))}, nil,
			"died inside nat-b, after it came in at uplink"},
		{"a mapping that there was", func(s *story) { s.way(0, payload(1), directAB).way(900*ms, payload(2), backAndDead) },
			[]witness.Drop{dropped(901*ms, "nat-a", "", "no mapping", bOut, aOut, payload(2))}, nil,
			"died inside nat-a: expired mapping"},
		{"a mapping that was lost", func(s *story) { s.way(0, payload(1), directAB).way(900*ms, payload(2), backAndDead) },
			[]witness.Drop{dropped(901*ms, "nat-a", "", "no mapping", bOut, aOut, payload(2))},
			[]witness.Reset{{Node: "nat-a", At: start.Add(500 * ms)}},
			"died inside nat-a: mapping lost in a reset"},
		{"a mapping that there never was", func(s *story) { s.way(0, payload(2), backAndDead) },
			[]witness.Drop{dropped(1*ms, "nat-a", "", "no mapping", bOut, aOut, payload(2))}, nil,
			"died inside nat-a: no mapping"},
		{"one drop ends one of two equal packets", func(s *story) { s.way(0, payload(1), filteredAB).way(8*ms, payload(1), filteredAB) },
			[]witness.Drop{dropped(6*ms, "nat-b", "", "filtered", aOut, bOut, payload(1))}, nil,
			"died inside nat-b, after it came in at uplink"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &story{tb: t}
			c.tell(s)
			traces := witness.Traces(s.packets, scene)
			drops := witness.Attribute(traces, c.drops, c.resets)
			if got := traces[len(traces)-1].Fate(); got != c.want {
				t.Errorf("it %s, want: %s", got, c.want)
			}
			if len(drops) != len(c.drops) {
				t.Errorf("%d of %d drops are left", len(drops), len(c.drops))
			}
		})
	}
}
