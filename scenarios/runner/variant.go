package runner

import (
	"cmp"
	"slices"
	"time"

	"p2pmodel/nat/certify"
	"p2pmodel/scenarios"
	"p2pmodel/sim"
)

// variant is one run that a scenario asks for: the scenario itself, or one of
// its controls, with all changes applied and all times scaled.
type variant struct {
	scenario *scenarios.Scenario
	name     string // "" for the scenario itself
	why      string
	lab      *sim.Lab
	settings scenarios.Settings
	// techniques are what peers may use.
	techniques []string
	before     []scenarios.Action
	phases     []scenarios.Phase
	events     sim.Timeline
	// measure says how patiently NATs are certified.
	measure certify.Options
}

// control reports whether v is a control.
func (v *variant) control() bool { return v.name != "" }

// label names the run in logs and progress.
func (v *variant) label() string {
	if v.control() {
		return v.scenario.ID + " / " + v.name
	}
	return v.scenario.ID
}

// expected is the path of the last phase: that of the run.
func (v *variant) expected() scenarios.Path {
	return v.phases[len(v.phases)-1].Expect.Path
}

// variants gives the scenario's own run first and then its controls. With
// realTime the times of the file are kept as they are.
func variants(sc *scenarios.Scenario, realTime bool) []*variant {
	settings := sc.Settings
	if realTime {
		settings.Scale = 1
	}
	out := []*variant{{
		scenario: sc,
		lab:      alter(sc.Lab, nil, nil),
		settings: settings, techniques: sc.Techniques,
		phases: sc.Phases,
		events: sc.Events,
	}}
	for _, c := range sc.Controls {
		v := &variant{
			scenario: sc,
			name:     c.Name,
			why:      c.Why,
			lab:      alter(sc.Lab, c.NATs, c.Open),
			settings: settings, techniques: sc.Techniques,
			before: c.Before,
			phases: c.Phases,
			events: sc.Events,
		}
		if c.OwnEvents {
			v.events = c.Events
		}
		if c.Techniques != nil {
			v.techniques = c.Techniques
		}
		if c.Keepalive != 0 {
			v.settings.Keepalive = c.Keepalive
		}
		if v.phases == nil {
			first := sc.Phases[0]
			v.phases = []scenarios.Phase{{Name: first.Name, Actions: first.Actions, Expect: c.Expect}}
		}
		out = append(out, v)
	}
	for _, v := range out {
		v.scale()
		if realTime { // whatever it takes
			v.measure.Patience = certify.MaxPatience
		}
	}
	return out
}

// hostsOf are the hosts of the servers, or of the peer, that an action is about.
func (v *variant) hostsOf(a scenarios.Action) []string {
	if name, ok := a.PeerOf(); ok {
		for _, p := range v.scenario.Peers {
			if p.Name == name {
				return []string{p.Host}
			}
		}
	}
	switch {
	case a.Shard != "":
		k, _ := v.scenario.System.Shard(a.Shard)
		return k.Hosts()
	case v.scenario.System != nil:
		return []string{a.Target}
	case a.Target == scenarios.ServerRendezvous:
		return v.scenario.RendezvousHosts()
	}
	return []string{v.scenario.RelayHost(a.Target)}
}

// rewired are the hosts of peers that an action gives another network, so that they
// look for other paths.
func (v *variant) rewired(a scenarios.Action) (hosts []string) {
	if v.aboutSystem(a) || !disrupts(a) {
		return nil
	}
	e := a.Event
	for _, p := range v.scenario.Peers {
		h, _ := v.lab.Host(p.Host)
		for _, u := range h.Uplinks {
			chain, _ := v.lab.Chain(p.Host, u.Name)
			node := cmp.Or(e.Router, e.Link.Node, e.Host)
			switch behind := slices.ContainsFunc(chain, func(r sim.Router) bool { return r.Name == node }); {
			case behind, node == p.Host, e.Kind == "", e.Kind == sim.EventHeal,
				slices.ContainsFunc(e.Groups, func(g []string) bool { return slices.Contains(g, p.Host) }):
				hosts = append(hosts, p.Host)
			}
		}
	}
	return hosts
}

// alter copies the lab, gives routers other NATs and takes firewalls away. A router
// that was only a firewall becomes that NAT and nothing else.
func alter(lab *sim.Lab, nats map[string]scenarios.NATChoice, open []string) *sim.Lab {
	out := *lab
	out.Routers, out.Hosts = slices.Clone(lab.Routers), slices.Clone(lab.Hosts)
	for i := range out.Hosts {
		if h := &out.Hosts[i]; slices.Contains(open, h.Name) {
			h.Firewall, h.Access = nil, nil
		}
	}
	for i := range out.Routers {
		r := &out.Routers[i]
		if r.NAT != nil {
			b := *r.NAT
			r.NAT = &b
		}
		if slices.Contains(open, r.Name) {
			r.Firewall, r.Access = nil, nil
		}
		if choice, changed := nats[r.Name]; changed {
			b := choice.Behavior
			r.NAT, r.Preset, r.Firewall, r.Access = &b, choice.Preset, nil, nil
		}
	}
	return &out
}

// scale divides the times that belong to NAT timeouts by the scenario's scale.
func (v *variant) scale() {
	by := time.Duration(max(v.settings.Scale, 1))
	for i := range v.lab.Routers {
		if b := v.lab.Routers[i].NAT; b != nil {
			*b = b.Scaled(int(by))
		}
	}
	if v.settings.Keepalive > 0 {
		v.settings.Keepalive /= by
	}
	v.before = scaleActions(v.before, by)
	v.phases = slices.Clone(v.phases)
	for i := range v.phases {
		v.phases[i].Actions = scaleActions(v.phases[i].Actions, by)
	}
	v.events = v.events.Scaled(int(by))
}

// endless reports whether the timeline does something for as long as the run
// lasts.
func (v *variant) endless() bool { return slices.ContainsFunc(v.events, sim.Scheduled.Endless) }

func scaleActions(actions []scenarios.Action, by time.Duration) []scenarios.Action {
	out := slices.Clone(actions)
	for i := range out {
		out[i].For /= by
		out[i].Event = out[i].Event.Scaled(int(by))
	}
	return out
}
