package sim

import (
	"fmt"
	"strconv"
	"strings"

	"p2pmodel/sim/document"
	"p2pmodel/sim/link"
)

func linkItems(k Link) []string {
	if k.Up == k.Down {
		return impairmentItems(k.Up)
	}
	return []string{"up: " + flow(impairmentItems(k.Up)), "down: " + flow(impairmentItems(k.Down))}
}

// impairmentItems writes an impairment as decodeImpairment reads it.
func impairmentItems(i link.Impairment) []string {
	var items []string
	item := func(there bool, key, value string) {
		if there {
			items = append(items, key+": "+value)
		}
	}
	percent := document.FormatProbability
	item(i.Delay != 0, "delay", i.Delay.String())
	item(i.Jitter != 0, "jitter", i.Jitter.String())
	item(i.Correlation != 0, "jitter-correlation", percent(i.Correlation))
	item(i.Distribution != link.Uniform, "distribution", i.Distribution.String())
	item(i.Reorder, "reorder", "true")
	item(i.Wander != link.Wander{}, "wander", flow([]string{"delay: " + i.Wander.Delay.String(), "every: " + i.Wander.Every.String()}))
	item(i.Overtake != link.Overtake{}, "overtake", overtakeText(i.Overtake))
	item(i.Loss != 0, "loss", percent(i.Loss))
	item(i.Burst != link.Burst{}, "burst", flow(burstItems(i.Burst)))
	item(i.Duplicate != 0, "duplicate", percent(i.Duplicate))
	item(i.Corrupt != 0, "corrupt", percent(i.Corrupt))
	item(i.Rate != 0, "rate", document.FormatRate(i.Rate))
	item(i.Trace != link.Trace{}, "trace", strconv.Quote(i.Trace.File))
	item(i.Queue != 0, "queue", strconv.Itoa(i.Queue))
	if i.Blackhole {
		item(true, "mtu", fmt.Sprintf("{size: %d, icmp: false}", i.MTU))
	} else {
		item(i.MTU != 0, "mtu", strconv.Itoa(i.MTU))
	}
	return items
}

func overtakeText(o link.Overtake) string {
	if o == (link.Overtake{Share: o.Share}) {
		return document.FormatProbability(o.Share)
	}
	items := []string{"share: " + document.FormatProbability(o.Share)}
	if o.Gap != 0 {
		items = append(items, fmt.Sprintf("gap: %d", o.Gap))
	}
	if o.Correlation != 0 {
		items = append(items, "correlation: "+document.FormatProbability(o.Correlation))
	}
	return flow(items)
}

// burstItems writes the model's parameters: loss and length would be rounded.
func burstItems(b link.Burst) []string {
	items := []string{"p: " + document.FormatProbability(b.P), "r: " + document.FormatProbability(b.R)}
	if b.Bad != 1 {
		items = append(items, "bad: "+document.FormatProbability(b.Bad))
	}
	if b.Good != 0 {
		items = append(items, "good: "+document.FormatProbability(b.Good))
	}
	return items
}

// DescribeImpairment says what one direction of a link does, for people: "30ms
// ±10ms, 1% loss, 50Mbit". It is empty for one that does nothing.
func DescribeImpairment(i link.Impairment) string {
	var parts []string
	say := func(there bool, format string, args ...any) {
		if there {
			parts = append(parts, fmt.Sprintf(format, args...))
		}
	}
	percent := document.FormatProbability
	if i.Delay > 0 {
		d := i.Delay.String()
		if i.Jitter > 0 {
			d += " ±" + i.Jitter.String()
		}
		if i.Distribution != link.Uniform {
			d += " " + i.Distribution.String()
		}
		if i.Correlation > 0 {
			d += " correlated " + percent(i.Correlation)
		}
		if i.Reorder {
			d += " reordered"
		}
		parts = append(parts, d)
	}
	say(i.Wander != link.Wander{}, "up to %v more each %v", i.Wander.Delay, i.Wander.Every)
	say(i.Overtake != link.Overtake{}, "%s overtake", percent(i.Overtake.Share))
	say(i.Loss > 0, "%s loss", percent(i.Loss))
	if b := i.Burst; b != (link.Burst{}) {
		say(true, "%.3g%% loss in bursts of %.3g", 100*b.Loss(), b.Length())
	}
	say(i.Duplicate > 0, "%s doubled", percent(i.Duplicate))
	say(i.Corrupt > 0, "%s corrupted", percent(i.Corrupt))
	say(i.Rate > 0, "%s", document.FormatRate(i.Rate))
	say(i.Trace != link.Trace{}, "trace %s", i.Trace.File)
	say(i.Queue > 0, "queue %d B", i.Queue)
	if i.MTU > 0 {
		say(true, "MTU %d%s", i.MTU, map[bool]string{true: " in silence"}[i.Blackhole])
	}
	return strings.Join(parts, ", ")
}
