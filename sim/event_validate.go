package sim

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"p2pmodel/sim/document"
)

// MaxEventTime bounds each time of an event, so that a slip of the keyboard does
// not run for a day.
const MaxEventTime = 24 * time.Hour

// eventProblem is something wrong with an event, and the key that it is about.
type eventProblem struct{ key, message string }

// Validate checks the event against the lab that it is meant for. The error
// joins one line for each thing that is wrong. Names of programs are not checked:
// a lab does not know them.
func (e Event) Validate(lab *Lab) error {
	var errs []error
	for _, p := range e.problems(lab) {
		errs = append(errs, fmt.Errorf("%s: %s", e.Kind, p.message))
	}
	return errors.Join(errs...)
}

// eventCheck collects the problems of one event.
type eventCheck struct {
	e     Event
	lab   *Lab // nil: names are not checked
	found []eventProblem
}

// problems are what is wrong with the event; without a lab, whatever the lab.
func (e Event) problems(lab *Lab) []eventProblem {
	c := &eventCheck{e: e, lab: lab}
	for _, t := range []struct {
		key string
		d   time.Duration
	}{{keyGap, e.Gap}, {keyOverlap, e.Overlap}, {keyDown, e.Down}, {keyUp, e.Up}, {keyEvery, e.Every}, {keyFor, e.For}} {
		if t.d < 0 || t.d > MaxEventTime {
			c.add(t.key, "%s: %v is not between 0 and %v", t.key, t.d, MaxEventTime)
		}
	}
	switch e.Kind {
	case EventReboot, EventFlush, EventSwap, EventRebind:
		c.router()
	case EventMove:
		c.move()
	case EventCut, EventRestore:
		c.link()
	case EventFlap:
		c.link()
		c.flap()
	case EventBlackhole:
		c.link()
		c.need(keyDirection, string(e.Direction))
		if e.Direction != "" && e.Direction != Up && e.Direction != Down {
			c.add(keyDirection, "unknown direction %q; known: %s, %s", e.Direction, Up, Down)
		}
	case EventImpair:
		c.link()
		c.impairments()
	case EventPartition:
		c.groups()
	case EventRestrict:
		c.host(true)
		if e.To == nil {
			c.add(keyTo, "%q is missing", keyTo)
		}
		c.hosts(keyTo, e.To)
	case EventUnrestrict:
		c.host(true)
	case EventLogin:
		c.login()
	case EventInject:
		c.host(true)
		c.inject()
	case EventKill, EventPause, EventResume, EventRestart:
		c.host(false)
		if e.Program == "" && e.Host == "" {
			c.add(keyProgram, "say which programs: by %s, %s or both", keyProgram, keyHost)
		}
	case EventHeal, EventWait:
	default:
		c.add("", "unknown event %q%s", e.Kind, document.Suggest(string(e.Kind), kindWords()))
	}
	return c.found
}

func (c *eventCheck) add(key, format string, args ...any) {
	c.found = append(c.found, eventProblem{key, fmt.Sprintf(format, args...)})
}

func (c *eventCheck) need(key, value string) bool {
	if value == "" {
		c.add(key, "%q is missing", key)
	}
	return value != ""
}

// known checks a name, if there is a lab.
func (c *eventCheck) known(key, what, name string, names []string) bool {
	switch {
	case c.lab == nil || slices.Contains(names, name):
		return true
	case len(names) == 0:
		c.add(key, "the lab has no %s", what)
	default:
		c.add(key, "unknown %s %q%s", what, name, document.Suggest(name, names))
	}
	return false
}

func (c *eventCheck) router() {
	if !c.need(keyRouter, c.e.Router) || !c.known(keyRouter, "router", c.e.Router, c.lab.routerNames()) {
		return
	}
	if c.lab == nil {
		return
	}
	r, _ := c.lab.Router(c.e.Router)
	if onlyFirewall := c.e.Kind == EventReboot && !c.e.NewAddress && r.Firewall != nil; r.NAT == nil && !onlyFirewall {
		c.add(keyRouter, "router %s has no NAT", r.Name)
	}
	if err := c.e.NAT.Validate(); err != nil {
		c.add(keyNAT, "nat: %v", err)
	}
	if c.e.Kind != EventRebind || c.e.Host == "" || !c.host(false) {
		return
	}
	for _, u := range c.hostOf().Uplinks {
		chain, _ := c.lab.Chain(c.e.Host, u.Name)
		if slices.ContainsFunc(chain, func(r Router) bool { return r.Name == c.e.Router }) {
			return
		}
	}
	c.add(keyHost, "host %s does not stand behind router %s", c.e.Host, c.e.Router)
}

func (c *eventCheck) hostOf() Host {
	h, _ := c.lab.Host(c.e.Host)
	return h
}

// host checks the host; it may be missing where it is not needed.
func (c *eventCheck) host(needed bool) bool {
	if c.e.Host == "" && !needed {
		return true
	}
	return c.need(keyHost, c.e.Host) && c.known(keyHost, "host", c.e.Host, c.lab.hostNames())
}

func (c *eventCheck) hosts(key string, names []string) {
	for _, name := range names {
		c.known(key, "host", name, c.lab.hostNames())
	}
}

func (c *eventCheck) move() {
	known := c.host(true)
	if c.need(keyUplink, c.e.Uplink) && known && c.lab != nil {
		var uplinks []string
		for _, u := range c.hostOf().Uplinks {
			uplinks = append(uplinks, u.Name)
		}
		c.known(keyUplink, "uplink of "+c.e.Host, c.e.Uplink, uplinks)
	}
	if c.e.Gap > 0 && c.e.Overlap > 0 {
		c.add(keyOverlap, "a host moves with a gap (break before make) or with an overlap (make before break), not with both")
	}
}

func (c *eventCheck) link() {
	if !c.need(keyLink, c.e.Link.Node) || c.lab == nil {
		return
	}
	if _, ok := c.lab.LinkID(c.e.Link.Node, c.e.Link.Uplink); !ok {
		c.known(keyLink, "link", c.e.Link.String(), c.lab.linkNames())
	}
}

func (c *eventCheck) flap() {
	e := c.e
	if e.Down == 0 {
		c.add(keyDown, "%q is missing", keyDown)
	}
	if e.Every == 0 && e.For == 0 {
		if e.Times == 0 {
			c.add(keyTimes, "%q is missing: say times and up, or every and for", keyTimes)
		}
		if e.Times < 0 || e.Times > MaxTimes {
			c.add(keyTimes, "times: %d is not between 1 and %d", e.Times, MaxTimes)
		}
		return
	}
	switch {
	case e.Times != 0 || e.Up != 0:
		c.add(keyEvery, "a link flaps times times with up between, or each every for so long, not both")
	case e.Every == 0:
		c.add(keyEvery, "%q is missing", keyEvery)
	case e.For == 0:
		c.add(keyFor, "%q is missing", keyFor)
	case e.Down >= e.Every:
		c.add(keyDown, "a link that is down for %v each %v is never up", e.Down, e.Every)
	case e.For < e.Every:
		c.add(keyFor, "for: %v is shorter than every: %v", e.For, e.Every)
	case e.For/e.Every > MaxTimes:
		c.add(keyFor, "the link would flap %d times; the most is %d", e.For/e.Every, MaxTimes)
	}
}

// flaps gives how often a flapping link is cut, and how long it is up between.
func (e Event) flaps() (times int, up time.Duration) {
	if e.Every == 0 {
		return e.Times, e.Up
	}
	return int(e.For / e.Every), e.Every - e.Down
}

func (c *eventCheck) impairments() {
	for _, way := range []struct {
		name string
		err  error
	}{{"up", c.e.Impairments.Up.Validate()}, {"down", c.e.Impairments.Down.Validate()}} {
		if way.err != nil {
			c.add(keyLink, "%s: %v", way.name, way.err)
		}
	}
	if c.lab == nil {
		return
	}
	for _, k := range c.lab.Links {
		if id, ok := c.lab.LinkID(k.Node, k.Uplink); ok && id == c.e.Link {
			return
		}
	}
	if _, ok := c.lab.LinkID(c.e.Link.Node, c.e.Link.Uplink); ok {
		c.add(keyLink, "link %s cannot be impaired, since the lab does not declare it: name it under links:, if only as {delay: 0ms}", c.e.Link)
	}
}

func (c *eventCheck) groups() {
	if len(c.e.Groups) < 2 {
		c.add(keyGroups, "a partition is between at least two groups of hosts, [[a, b], [c]]")
	}
	in := map[string]int{} // host → its group, from 1
	for i, g := range c.e.Groups {
		c.hosts(keyGroups, g)
		for _, h := range g {
			if first := in[h]; first != 0 && first != i+1 {
				c.add(keyGroups, "host %s is in two groups of the partition", h)
			}
			in[h] = i + 1
		}
	}
}

func (l *Lab) routerNames() (names []string) {
	if l == nil {
		return nil
	}
	for _, r := range l.Routers {
		names = append(names, r.Name)
	}
	return names
}

func (l *Lab) hostNames() (names []string) {
	if l == nil {
		return nil
	}
	for _, h := range l.Hosts {
		names = append(names, h.Name)
	}
	return names
}

// linkNames are the names of links as files have them.
func (l *Lab) linkNames() (names []string) {
	if l == nil {
		return nil
	}
	for _, h := range l.Hosts {
		if len(h.Uplinks) == 1 {
			names = append(names, h.Name)
			continue
		}
		for _, u := range h.Uplinks {
			names = append(names, h.Name+"/"+u.Name)
		}
	}
	return append(names, l.routerNames()...)
}
