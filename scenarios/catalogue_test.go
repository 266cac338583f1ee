package scenarios

import (
	"slices"
	"strings"
	"testing"

	"p2pmodel/nat"
	"p2pmodel/sim"
)

// A verdict stands only with its controls: these are what every scenario of the
// catalogue must have, whatever it is about.
func TestCatalogueHasItsControls(t *testing.T) {
	all, err := Catalogue()
	if err != nil {
		t.Fatal(err)
	}
	for _, sc := range all {
		expects := func(path Path) bool {
			return slices.ContainsFunc(sc.Phases, func(p Phase) bool { return p.Expect.Path == path })
		}
		if expects(Direct) && !slices.ContainsFunc(sc.Controls, func(c Control) bool { return (sc.cutsRelay(c) || sc.cutsLater(c)) && c.last() == Direct }) {
			t.Errorf("%s expects a direct path: a control must cut the relay before the start, or once ports are found, and still expect it", sc.ID)
		}
		if expects(Relay) && !slices.ContainsFunc(sc.Controls, func(c Control) bool { return sc.opensAll(c) && c.last() == Direct }) {
			t.Errorf("%s expects a relayed path: a control must replace every symmetric NAT and every firewall by a port-restricted cone, and expect a direct one", sc.ID)
		}
		if expects(Mixed) && !slices.ContainsFunc(sc.Controls, func(c Control) bool { return sc.cutsRelay(c) && c.last() == Mixed }) {
			t.Errorf("%s expects mixed paths: a control must cut the relay before the start", sc.ID)
		}
	}
}

// last is the path of a control's last phase.
func (c Control) last() Path {
	if len(c.Phases) > 0 {
		return c.Phases[len(c.Phases)-1].Expect.Path
	}
	return c.Expect.Path
}

func (sc *Scenario) cutsRelay(c Control) bool {
	relays := sc.RelayHosts()
	if sc.System != nil {
		relays = nil // those that run from the start
		for _, k := range sc.System.Shards {
			if !k.Later {
				relays = append(relays, k.Relay)
			}
		}
	}
	for _, host := range relays {
		if !slices.ContainsFunc(c.Before, func(a Action) bool {
			return a.Event.Kind == sim.EventCut && a.Event.Link == sim.LinkID{Node: host, Uplink: sim.DefaultUplink}
		}) {
			return false
		}
	}
	return true
}

// cutsLater is cutsRelay for peers who tell each other ports over the relay: it is cut when
// they have found them.
func (sc *Scenario) cutsLater(c Control) bool {
	if !slices.Contains(sc.Techniques, Prediction) && !slices.Contains(sc.Techniques, Birthday) || len(c.Phases) == 0 {
		return false
	}
	c.Before = c.Phases[len(c.Phases)-1].Actions
	return sc.cutsRelay(c)
}

// opensAll reports whether a control replaces all that hinders punching.
func (sc *Scenario) opensAll(c Control) bool {
	for _, r := range sc.Lab.Routers {
		hinders := r.Firewall != nil || r.NAT != nil && r.NAT.Mapping != nat.EndpointIndependent
		n := c.NATs[r.Name].Behavior
		if hinders && (c.NATs[r.Name].Preset != "port-restricted-cone" || n.Mapping != nat.EndpointIndependent) {
			return false
		}
	}
	return true
}

// What the seed asks of single scenarios beside that.
func TestSeedsOwnControls(t *testing.T) {
	control := func(t *testing.T, id, name string) (*Scenario, Control) {
		t.Helper()
		sc, err := Find(id)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(sc.Controls, func(c Control) bool { return c.Name == name })
		if i < 0 {
			t.Fatalf("%s has no control %q", id, name)
		}
		return sc, sc.Controls[i]
	}

	_, c := control(t, "TC-01", "both symmetric")
	if c.NATs["nat-a"].Preset != "symmetric" || c.NATs["nat-b"].Preset != "symmetric" || c.Expect.Path != Relay {
		t.Errorf("TC-01 with both NATs made symmetric must be relayed: %+v", c)
	}
	for _, host := range []string{"c", "d"} {
		sc, c := control(t, "TC-02", strings.ToUpper(host)+" silent")
		if len(c.Before) != 1 || c.Before[0].Event.Kind != sim.EventRestrict || c.Before[0].Event.Host != host ||
			!slices.Equal(c.Before[0].Event.To, []string{sc.Rendezvous, sc.Relay}) || c.Expect.Path == Direct {
			t.Errorf("TC-02 with the probes of %s silenced must not be direct: %+v", host, c)
		}
	}
	for name, path := range map[string]Path{"no keepalive, direct": Direct, "no keepalive, relayed": Relay} {
		sc, c := control(t, "TC-05", name)
		nat, _ := sc.Lab.Router("nat-i")
		idle := c.Phases[1]
		if c.Keepalive != Off || c.Phases[0].Expect.Path != path || len(idle.Actions) != 2 ||
			idle.Actions[0].Kind != ActQuiet || idle.Actions[0].For < 2*nat.NAT.Timeout ||
			idle.Actions[1].Kind != ActSend || idle.Actions[1].Target != "j" ||
			idle.Expect.Path != None || idle.Expect.Reaches != "nat-i" {
			t.Errorf("TC-05, %s: after two timeouts without any traffic what J sends must reach I's router and not I: %+v", name, c)
		}
	}
	sc, err := Find("TC-05")
	if err != nil {
		t.Fatal(err)
	}
	router, _ := sc.Lab.Router("nat-i")
	idle := sc.Phases[1]
	if idle.Actions[0].For < 5*router.NAT.Timeout || idle.Expect.Mapping["i"] != MappingKept {
		t.Errorf("TC-05 must live with keepalive over five timeouts at least: %+v", idle)
	}
	for _, p := range sc.Phases[2:] {
		if p.Expect.Path != Direct || p.Expect.Mapping["i"] != MappingLost {
			t.Errorf("TC-05 must lose its mapping in phase %q and find back: %+v", p.Name, p.Expect)
		}
	}
}
