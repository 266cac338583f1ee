package report

import (
	"fmt"
	"strings"
	"time"

	"p2pmodel/scenarios"
	"p2pmodel/sim"
)

// eventWords says what an event does.
func eventWords(e sim.Event) string {
	switch e.Kind {
	case sim.EventMove:
		return fmt.Sprintf("%s moves to its uplink %s", e.Host, sim.Handover{Uplink: e.Uplink, Gap: e.Gap, Overlap: e.Overlap})
	case sim.EventReboot:
		if e.NewAddress {
			return fmt.Sprintf("%s reboots and takes a new address", e.Router)
		}
		return e.Router + " reboots"
	case sim.EventFlush:
		return "the table of " + e.Router + " is flushed"
	case sim.EventSwap:
		return fmt.Sprintf("the NAT of %s becomes %s", e.Router, natWords(scenarios.NATChoice{Behavior: e.NAT, Preset: e.Preset}))
	case sim.EventRebind:
		if e.Host != "" {
			return fmt.Sprintf("%s silently gives %s other ports", e.Router, e.Host)
		}
		return e.Router + " silently gives everybody other ports"
	case sim.EventFlap:
		if e.Every > 0 {
			return fmt.Sprintf("the link of %s fails for %v every %v, for %v", e.Link, e.Down, e.Every, e.For)
		}
		return fmt.Sprintf("the link of %s fails %d times for %v, with %v between", e.Link, e.Times, e.Down, e.Up)
	case sim.EventRestore:
		return "the link of " + e.Link.String() + " is restored"
	case sim.EventUnrestrict:
		return e.Host + " may send anywhere again"
	case sim.EventLogin:
		if e.Router != "" {
			return fmt.Sprintf("%s logs in at the portal of %s", e.Host, e.Router)
		}
		return e.Host + " logs in at the portal"
	case sim.EventInject:
		return fmt.Sprintf("%s sends what is not its own for %v", e.Host, e.For)
	case sim.EventHeal:
		return "the network heals"
	case sim.EventWait:
		return "nothing is done for " + durationWords(e.For)
	case sim.EventKill, sim.EventPause, sim.EventResume, sim.EventRestart:
		return programWords(e) + lasting(e.For)
	}
	return faultWords(e) + lasting(e.For)
}

// faultWords are for what lasts.
func faultWords(e sim.Event) string {
	switch e.Kind {
	case sim.EventCut:
		return "the link of " + e.Link.String() + " is cut"
	case sim.EventBlackhole:
		return fmt.Sprintf("the link of %s swallows what goes %s", e.Link, e.Direction)
	case sim.EventImpair:
		return fmt.Sprintf("the link of %s gets other impairments (%s)", e.Link, e)
	case sim.EventRestrict:
		return fmt.Sprintf("%s may send to %s only", e.Host, strings.Join(e.To, " and "))
	case sim.EventPartition:
		groups := make([]string, len(e.Groups))
		for i, g := range e.Groups {
			groups[i] = strings.Join(g, ", ")
		}
		return "the network splits: " + strings.Join(groups, " | ")
	}
	return e.String()
}

func programWords(e sim.Event) string {
	what := "program " + e.Program
	switch {
	case e.Program == "":
		what = "all programs of " + e.Host
	case e.Host != "":
		what += " on " + e.Host
	}
	done := map[sim.EventKind]string{
		sim.EventKill: "get SIGKILL", sim.EventPause: "stop", sim.EventResume: "go on", sim.EventRestart: "start anew",
	}[e.Kind]
	return what + ": all processes " + done
}

func lasting(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return " for " + durationWords(d)
}

// timelineWords say what is done beside the phases, and when.
func timelineWords(s sim.Scheduled) string {
	text := "at " + durationWords(s.At)
	if s.Phase != "" {
		text += fmt.Sprintf(" of phase %q", s.Phase)
	}
	if s.Every > 0 {
		text += " and then every " + durationWords(s.Every)
		if s.Times > 0 {
			text += fmt.Sprintf(", %d times in all", s.Times)
		}
	}
	return text + ": " + eventWords(s.Event)
}
