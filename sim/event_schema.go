package sim

import (
	"p2pmodel/sim/document"
)

// EventSchema is the schema of what DecodeEvent takes for a kind.
func EventSchema(kind EventKind) document.Schema {
	form, _ := formOf(kind)
	keys := form.allKeys()
	if len(keys) == 0 {
		return document.Schema{"const": true}.Described(form.help)
	}
	properties := map[string]document.Schema{}
	for _, key := range keys {
		properties[key] = eventKeySchema(kind, key)
	}
	object := document.ObjectSchema(properties, neededKeys[kind]...)
	switch kind {
	case EventKill, EventPause, EventResume, EventRestart:
		object["minProperties"] = 1
	case EventMove:
		object["not"] = document.Schema{"required": []string{keyGap, keyOverlap}}
	case EventFlap:
		object["oneOf"] = []document.Schema{
			{"required": []string{keyTimes}, "not": document.Schema{"anyOf": []document.Schema{{"required": []string{keyEvery}}, {"required": []string{keyFor}}}}},
			{"required": []string{keyEvery, keyFor}, "not": document.Schema{"anyOf": []document.Schema{{"required": []string{keyTimes}}, {"required": []string{keyUp}}}}},
		}
	}
	if form.alone == "" {
		return object.Described(form.help)
	}
	return document.Schema{"anyOf": []document.Schema{eventKeySchema(kind, form.alone), object}}.Described(form.help)
}

// neededKeys are those that an event of a kind cannot do without.
var neededKeys = map[EventKind][]string{
	EventReboot: {keyRouter}, EventFlush: {keyRouter}, EventRebind: {keyRouter}, EventSwap: {keyRouter, keyNAT},
	EventMove: {keyHost, keyUplink}, EventCut: {keyLink}, EventRestore: {keyLink}, EventFlap: {keyLink, keyDown},
	EventBlackhole: {keyLink, keyDirection}, EventImpair: {keyLink}, EventPartition: {keyGroups},
	EventRestrict: {keyHost, keyTo}, EventUnrestrict: {keyHost}, EventLogin: {keyHost}, EventInject: {keyHost, keyFor},
}

func eventKeySchema(kind EventKind, key string) document.Schema {
	if kind == EventImpair && key != keyLink && key != keyFor {
		return linkProperties()[key]
	}
	switch key {
	case keyRouter:
		return document.TextSchema().Described("The router.")
	case keyNewAddress:
		return document.BoolSchema().Default(false).Described("It comes back with external addresses that it never had.")
	case keyNAT:
		return NATSchema()
	case keyHost:
		return document.TextSchema().Described("The host.")
	case keyUplink:
		return document.TextSchema().Described("Its uplink from now on.")
	case keyGap:
		return document.DurationSchema().Described("How long it has no uplink at all: break before make.")
	case keyOverlap:
		return document.DurationSchema().Described("How long it has both: make before break.")
	case keyTo:
		return document.ListSchema(document.TextSchema()).Described("The hosts that it may still send to.")
	case keyGroups:
		group := document.ListSchema(document.TextSchema()).Described("Hosts that reach each other.")
		group["minItems"] = 1
		groups := document.ListSchema(group).Described("Groups of hosts that cannot reach each other.")
		groups["minItems"] = 2
		return groups
	case keyLink:
		return document.TextSchema().Described("The node whose uplink it is, or node/uplink for a host with several.")
	case keyDirection:
		return document.WordSchema(string(Up), string(Down)).Described("up: towards the internet; down: away from it.")
	case keyTimes:
		return document.IntSchema(1, MaxTimes).Described("How often it fails.")
	case keyDown:
		return document.DurationSchema().Described("How long it fails each time.")
	case keyUp:
		return document.DurationSchema().Described("How long it works between.")
	case keySeed:
		return document.Schema{"type": "integer", "minimum": 0}.Default(0).Described("What draws the datagrams.")
	case keyEvery:
		if kind == EventInject {
			return document.DurationSchema().Default(injectEvery.String()).Described("How long it is from one datagram to the next, at least 1ms.")
		}
		return document.DurationSchema().Described("How long it is from one failure to the next.")
	case keyProgram:
		return document.TextSchema().Described("The program.")
	}
	return document.DurationSchema().Described("How long it lasts, and then ends by itself; nothing: until it is ended.")
}

// TimelineSchema is the schema of what DecodeTimeline takes.
func TimelineSchema() document.Schema {
	properties := map[string]document.Schema{
		"at":     document.DurationSchema().Default(0).Described("When, from the beginning of the first phase, or of the one that is named; in a file of a lab: from when it stands."),
		"every":  document.DurationSchema().Described("How long it is from one time to the next."),
		"times":  document.IntSchema(1, MaxTimes).Described("How often in all, with every; nothing: to the end."),
		"jitter": document.DurationSchema().Described("Each time is later by a share of this, drawn by the seed."),
		"phase":  document.TextSchema().Described("The phase whose beginning the time counts from."),
	}
	var one []document.Schema
	for _, kind := range EventKinds() {
		properties[string(kind)] = EventSchema(kind)
		one = append(one, document.Schema{"required": []string{string(kind)}})
	}
	entry := document.ObjectSchema(properties)
	entry["oneOf"] = one
	return document.ListSchema(entry).Described("What is done to the lab, and when.")
}
