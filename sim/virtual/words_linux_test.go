package virtual_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"p2pmodel/nat"
	"p2pmodel/sim"
	"p2pmodel/sim/kernel"
	"p2pmodel/sim/virtual"
	"p2pmodel/sim/witness"
)

// settling is how long a packet may take through a lab of the kernel's.
const settling = 60 * ms

// play is a lab and what is done in it, a line each: "host:port > address:port text"
// sends; "cut", "blackhole" and "restore" with a node are done to its link;
// "restrict host", "part host" (from the server), "move host" (to 4g), "reboot router",
// "flush router", "rebind router" and "swap router" to those; "wait" waits for longer.
type play struct {
	name, lab string
	lines     []string
	// random are ports that each fabric draws for itself.
	random *regexp.Regexp
}

var plays = []play{
	{"every NAT's own drops", `lab:
  routers: {home: {nat: "mapping=EIM,filtering=APDF,ports=preserve"}}
  hosts: {inside: {behind: home}, other: {behind: home}, server: , stranger: }
`, []string{
		"inside:5000 > 198.18.0.3:700 ping", "server:700 > 198.18.0.2:5000 back", "stranger:700 > 198.18.0.2:5000 filtered",
		"stranger:700 > 198.18.0.2:5001 no mapping", "stranger:700 > 192.168.1.2:5000 private", "inside:5000 > 198.18.0.2:5000 hairpin",
		"inside:5000 > 192.168.1.3:5000 neighbour", "inside:5000 > 192.168.1.1:9 the router", "inside:5000 > 198.18.0.3:9 closed",
		"inside:5000 > 198.18.9.9:9 nobody", "inside:5000 > 10.1.1.1:9 private", "flush home", "server:700 > 198.18.0.2:5000 after the flush",
		"reboot home", "server:700 > 198.18.0.2:5000 gone",
	}, nil},
	{"one that hairpins", `lab:
  routers: {home: {nat: "mapping=EIM,filtering=EIF,ports=preserve,hairpin=external"}}
  hosts: {inside: {behind: home}, other: {behind: home}, server: }
`, []string{
		"inside:5000 > 198.18.0.3:700 open", "other:5001 > 198.18.0.3:700 open", "inside:5000 > 198.18.0.2:5001 turned back",
		"inside:5000 > 198.18.0.2:6000 no mapping", "inside:5002 > 198.18.0.3:700 open", "other:5001 > 198.18.0.2:5009 no mapping",
	}, nil},
	{"conntrack's", `lab:
  routers: {home: {nat: "kind=masquerade"}}
  hosts: {inside: {behind: home}, server: , stranger: }
`, []string{
		"inside:5000 > 198.18.0.3:700 ping", "stranger:700 > 198.18.0.2:5000 unexpected", "stranger:700 > 198.18.0.2:77 unexpected",
		"inside:5000 > 198.18.0.2:5000 hairpin", "inside:5000 > 198.18.0.3:9 closed",
	}, nil},
	{"conntrack's that accepts early", `lab:
  routers: {home: {nat: "kind=masquerade,early-inbound=accept"}}
  hosts: {inside: {behind: home}, stranger: }
`, []string{"stranger:700 > 198.18.0.2:5000 early", "inside:5000 > 198.18.0.3:700 remapped"}, regexp.MustCompile(`198\.18\.0\.2:\d{4,}\b → 198\.18\.0\.3:700`)},
	{"a firewall that says no", `lab:
  routers: {wall: {firewall: {inbound: replies, udp: [700], reject: both}}}
  hosts: {inside: {behind: wall}, other: {behind: wall}, server: }
`, []string{
		"inside:5000 > 198.18.0.5:700 out", "server:700 > 198.18.0.3:5000 answer", "server:701 > 198.18.0.3:5000 unsolicited",
		"inside:5000 > 198.18.0.5:701 blocked", "inside:5000 > 198.18.0.4:5000 neighbour", "inside:5000 > 198.18.0.5:700 and on",
	}, nil},
	{"lists", `lab:
  routers:
    wall:
      firewall:
        inbound: replies
        allow: [{from: server, to: inside, udp: 5000}]
        outbound: [{to: server, udp: 700}]
        between: none
  hosts: {inside: {behind: wall}, other: {behind: wall}, server: , stranger: }
`, []string{
		"server:700 > 198.18.0.3:5000 a hole", "inside:5000 > 198.18.0.5:700 answer", "stranger:700 > 198.18.0.3:5000 no hole",
		"other:5000 > 198.18.0.5:701 no list", "inside:5000 > 198.18.0.4:5000 between", "server:700 > 198.18.0.3:5001 another port",
	}, nil},
	{"a host's own", `lab:
  hosts: {guarded: {firewall: {inbound: replies, udp: [700], reject: both}}, server: }
`, []string{
		"guarded:5000 > 198.18.0.3:700 ping", "server:701 > 198.18.0.2:5000 unsolicited", "guarded:5000 > 198.18.0.3:701 blocked",
	}, nil},
	{"faults", `lab: {hosts: {a: , b: }}`, []string{
		"cut a", "a:1 > 198.18.0.3:2 up", "b:2 > 198.18.0.2:1 down", "restore a", "a:1 > 198.18.0.3:2 whole",
		"blackhole a", "a:1 > 198.18.0.3:2 up", "restore a", "restrict a", "a:1 > 198.18.0.3:2 restricted",
	}, nil},
	{"more faults, of a host with two uplinks", `lab:
  routers: {home: {nat: full-cone}}
  hosts: {phone: {uplinks: {wifi: {behind: home}, 4g: {}}}, server: , other: }
  links: {server: {delay: 5ms}}
`, []string{
		"phone:1 > 198.18.0.4:2 by wifi", "server:2 > 198.18.0.3:1 not plugged in", "move phone", "phone:1 > 198.18.0.4:2 by 4g",
		"server:2 > 198.18.0.2:1 to wifi", "cut server", "phone:1 > 198.18.0.4:2 cut", "restore server", "part phone", "phone:1 > 198.18.0.4:2 parted",
		"server:2 > 198.18.0.3:1 parted", "phone:1 > 198.18.0.5:3 not parted", "other:3 > 198.18.0.4:2 neither",
	}, nil},
	{"mappings that end", `lab:
  routers: {home: {nat: "mapping=EIM,filtering=ADF,ports=sequential,timeout=100ms"}}
  hosts: {inside: {behind: home}, server: }
`, []string{
		"inside:1 > 198.18.0.3:2 first", "wait", "server:2 > 198.18.0.2:1024 expired", "inside:1 > 198.18.0.3:2 second", "rebind home",
		"server:2 > 198.18.0.2:1024 expired", "server:2 > 198.18.0.2:1025 rebound", "inside:1 > 198.18.0.3:2 third",
		"swap home", "server:2 > 198.18.0.2:1026 swapped", "inside:1 > 198.18.0.3:2 fourth",
	}, nil},
	{"a small table, and a block", `lab:
  routers: {home: {nat: "mapping=APDM,filtering=APDF,ports=preserve,size=64"}, narrow: {nat: "ports=sequential,range=2000-2001"}}
  hosts: {inside: {behind: narrow}, many: {behind: home}, server: }
`, []string{
		"inside:1 > 198.18.0.4:2 first", "inside:3 > 198.18.0.4:2 second", "inside:4 > 198.18.0.4:2 no port",
	}, nil},
	{"a chain", `lab:
  routers: {carrier: {nat: restricted-cone}, home: {behind: carrier, nat: symmetric}}
  hosts: {inside: {behind: home}, beside: {behind: carrier}, server: , stranger: }
`, []string{
		"inside:5000 > 198.18.0.3:700 ping", "beside:5000 > 198.18.0.3:700 ping", "stranger:9 > 198.18.0.2:1024 filtered", "inside:5000 > 100.64.0.3:5000 beside",
		"inside:5000 > 198.18.0.3:9 closed", "beside:5000 > 198.18.0.2:5000 hairpin",
	}, nil},
	{"too large", `lab:
  routers: {home: {nat: full-cone}}
  hosts: {inside: {behind: home}, server: }
  links: {home: {up: {mtu: 1280}}}
`, []string{"inside:5000 > 198.18.0.3:700 fits", "inside:5000 > 198.18.0.3:700 large" + strings.Repeat(" large", 240)}, nil},
}

// perform plays and gives what was seen: captures and drops, in the order of their
// words, since packets that cross each other have no order on a kernel.
func (p play) perform(t *testing.T, fabric sim.Fabric) (seen, dropped []string) {
	t.Helper()
	lab, err := sim.ParseLab("lab.yaml", []byte(p.lab))
	if err != nil {
		t.Fatalf("%s: %v", p.name, err)
	}
	n, err := fabric.Build(t.Context(), lab, sim.Options{Seed: 1})
	if err != nil {
		t.Fatalf("%s: %v", p.name, err)
	}
	defer n.Close()
	speakers := map[string]*talker{}
	speaker := func(who string) *talker {
		if speakers[who] == nil {
			name, port, _ := strings.Cut(who, ":")
			m := &talker{}
			if m.run, err = hostOf(t, n, name).Run(context.Background(), m, nil); err != nil {
				t.Fatal(err)
			}
			m.run.Do(func(time.Time) { m.Bind(1, addrPort("0.0.0.0:"+port)) })
			speakers[who] = m
		}
		return speakers[who]
	}
	for _, line := range p.lines {
		if who, rest, sends := strings.Cut(line, " > "); sends {
			to, text, _ := strings.Cut(rest, " ")
			for _, other := range p.lines { // who is spoken to listens already
				if o, _, ok := strings.Cut(other, " > "); ok {
					speaker(o)
				}
			}
			speaker(who).say(to, text)
		} else {
			word, name, _ := strings.Cut(line, " ")
			var err error
			switch word {
			case "cut":
				err = linkNamed(t, n, name).Cut()
			case "blackhole":
				err = linkNamed(t, n, name).Blackhole(sim.Up)
			case "restore":
				err = linkNamed(t, n, name).Restore()
			case "restrict":
				err = hostOf(t, n, name).Restrict([]netip.Addr{})
			case "reboot":
				err = routerOf(t, n, name).Reboot(true)
			case "flush":
				err = routerOf(t, n, name).FlushTable()
			case "rebind":
				_, err = routerOf(t, n, name).Rebind()
			case "swap":
				err = routerOf(t, n, name).Swap(nat.Behavior{})
			case "move":
				err = hostOf(t, n, name).Move("4g")
			case "part":
				err = n.Partition([][]string{{name}, {"server"}})
			case "wait":
				err = sim.Sleep(t.Context(), n, 200*ms)
			}
			if err != nil {
				t.Fatalf("%s: %s: %v", p.name, line, err)
			}
		}
		if err := sim.Sleep(t.Context(), n, settling); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range speakers {
		if err := m.run.Stop(); err != nil {
			t.Error(err)
		}
	}
	for _, k := range n.Packets() {
		text := fmt.Sprintf("%v %v %v → %v ttl %d DF %v", k.Point, k.Direction, k.Src, k.Dst, k.Data[8], k.Data[6]&0x40 != 0)
		if k.Protocol == 1 {
			quote := k.Data[28:]
			text += fmt.Sprintf(" %s about %v:%d → %v:%d", witness.Summary(k), quote[12:16], int(quote[20])<<8+int(quote[21]), quote[16:20], int(quote[22])<<8+int(quote[23]))
		}
		if p.random != nil {
			text = p.random.ReplaceAllString(text, "some port")
		}
		seen = append(seen, text)
	}
	all, err := n.Drops()
	if err != nil {
		t.Errorf("%s: %v", p.name, err)
	}
	for _, d := range all {
		dropped = append(dropped, fmt.Sprintf("%v protocol %d", d, d.Protocol))
	}
	for _, h := range lab.Hosts {
		if h.Firewall != nil {
			counts, err := hostOf(t, n, h.Name).Firewall()
			dropped = append(dropped, fmt.Sprintf("%s counted %+v %v", h.Name, counts, err))
		}
	}
	for _, r := range lab.Routers {
		if r.Firewall != nil {
			counts, err := routerOf(t, n, r.Name).Firewall()
			dropped = append(dropped, fmt.Sprintf("%s counted %+v %v", r.Name, counts, err))
		}
	}
	for _, l := range n.Plan().Links {
		running, err := n.Link(l.ID)
		if err != nil {
			t.Fatal(err)
		}
		up, down := running.Lost()
		dropped = append(dropped, fmt.Sprintf("the link of %v lost %d up and %d down", l.ID, up, down))
	}
	slices.Sort(seen)
	slices.Sort(dropped)
	return seen, dropped
}

func linkNamed(t *testing.T, n sim.Network, node string) sim.RunningLink {
	t.Helper()
	l, err := n.Link(sim.LinkID{Node: node})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestTheKernelSaysTheSame: what is sent in a lab is seen at the same points with
// the same addresses, is answered by the same errors, and dies of the same causes
// in the same words, on both fabrics.
func TestTheKernelSaysTheSame(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("labs of the kernel need root (or natlab rootless)")
	}
	for _, p := range plays {
		t.Run(p.name, func(t *testing.T) {
			seen, dropped := p.perform(t, virtual.Fabric{})
			kernelSaw, kernelDropped := p.perform(t, kernel.Fabric{})
			compare(t, "captures", seen, kernelSaw)
			compare(t, "drops", dropped, kernelDropped)
		})
	}
}

// compare tells what one has and the other has not.
func compare(t *testing.T, what string, ours, theirs []string) {
	t.Helper()
	left := slices.Clone(theirs)
	for _, line := range ours {
		if i := slices.Index(left, line); i >= 0 {
			left = slices.Delete(left, i, i+1)
		} else {
			t.Errorf("%s: only in virtual time: %s", what, line)
		}
	}
	for _, line := range left {
		t.Errorf("%s: only on the kernel: %s", what, line)
	}
}
