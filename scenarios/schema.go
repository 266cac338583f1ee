package scenarios

import (
	"maps"

	"p2pmodel/sim"
	"p2pmodel/sim/document"
)

// Schema gives the JSON Schema (draft 2020-12) of scenario files, for editors:
// `natlab schema` prints it. It knows the form of a file; that the names in it
// mean something, and whatever else is between the lines, is for Parse.
func Schema() document.Schema {
	s := document.ObjectSchema(map[string]document.Schema{
		"id": document.Schema{"type": "string", "pattern": idPattern.String()}.
			Described("What the scenario is called on command lines, in reports and in names of files."),
		"title":       document.TextSchema().Described("The scenario in a few words."),
		"description": document.TextSchema().Described("What happens and why, for readers."),
		"lab":         sim.Schema(),
		"rendezvous":  nameSchema("The host on which the rendezvous runs."),
		"relay":       nameSchema("The host on which the relay runs; nothing: there is none."),
		"relays":      relaysSchema(),
		"tls":         document.IntSchema(1, 65535).Described("The TCP port at which rendezvous and relays also take peers over TLS, as 443: for networks that let no UDP out."),
		"programs":    programsSchema(),
		"system":      systemSchema(),
		"rooms":       roomsSchema(),
		"load":        loadSchema(),
		"peers":       peersSchema(),
		"connect": listOf(document.Schema{
			"type": "array", "items": document.TextSchema(), "minItems": 2, "maxItems": 2,
		}, 1).Described("The pairs of peers that connect; the first of each dials."),
		"room":       document.TextSchema().Described("Instead of connect: every peer joins this room, and all are connected to all."),
		"techniques": listOf(document.WordSchema(Techniques...), 0).Default([]string{PlainPunching}).Described("What peers may use to reach each other: plain is checks from one socket, which all do; the others are added to it."),
		"settings":   settingsSchema(),
		"phases":     phasesSchema(),
		"expect":     expectSchema(),
		"events":     sim.TimelineSchema(),
		"controls": document.ListSchema(controlSchema()).
			Described("The same scenario with something changed, and an expectation of its own: what shows that the verdict means something."),
		"explore": boundsSchema(),
	}, "id", "title", "lab")
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["title"] = "P2PModel scenario"
	s["allOf"] = []document.Schema{
		{"oneOf": []document.Schema{{"required": []string{"phases"}}, {"required": []string{"expect"}}}},
		{"oneOf": []document.Schema{
			{"required": []string{"rendezvous", "connect"}},
			{"required": []string{"rendezvous", "room"}},
			{"required": []string{"system", "rooms"}},
			{"required": []string{"connect"}, "properties": map[string]any{"rendezvous": false, "peers": foreignPeers()}},
			{"required": []string{"programs"}, "properties": map[string]any{"peers": false}},
		}},
		{"anyOf": []document.Schema{{"required": []string{"peers"}}, {"required": []string{"programs"}}}},
		onlyWith("system", "rooms", "load"),
		onlyWith("rendezvous", "tls"),
		onlyWith("peers", "connect", "room"),
	}
	return s
}

// onlyWith refuses keys in a file that has not the key that they go with.
func onlyWith(key string, others ...string) document.Schema {
	dependent := map[string]any{}
	for _, o := range others {
		dependent[o] = []string{key}
	}
	return document.Schema{"dependentRequired": dependent}
}

// nameSchema is the name of a part of the lab.
func nameSchema(description string) document.Schema {
	return document.TextSchema().Described(description)
}

func relaysSchema() document.Schema {
	s := listOf(nameSchema("The host of a relay."), 2)
	s["maxItems"] = maxRelays
	return s.Described("Instead of relay: the hosts of several, from which peers choose.")
}

func listOf(item document.Schema, least int) document.Schema {
	s := document.ListSchema(item)
	if least > 0 {
		s["minItems"] = least
	}
	return s
}

func peersSchema() document.Schema {
	keys := programProperties()
	keys["host"] = nameSchema("The host on which the peer runs; no other peer and no server may.")
	peer := document.ObjectSchema(keys, "host")
	peer["allOf"] = []document.Schema{onlyWith("run", programKeys[1:]...)}
	return document.Schema{"type": "object", "minProperties": 2, "additionalProperties": peer}.
		Described("The peers of the system under test, by name: ours, or programs of somebody else's if all have run.")
}

// keepaliveSchema takes off as YAML 1.1 reads it as well: false.
func keepaliveSchema() document.Schema {
	return document.Schema{"anyOf": []document.Schema{
		{"type": "string", "pattern": document.DurationSchema()["anyOf"].([]document.Schema)[0]["pattern"]},
		{"enum": []any{"off", false}},
	}, "examples": []string{"15s", "off"}}.Described("How often idle paths are kept alive; off: never; nothing: as the system does by default.")
}

func settingsSchema() document.Schema {
	return document.ObjectSchema(map[string]document.Schema{
		"keepalive": keepaliveSchema(),
		"interval":  document.DurationSchema().Default(DefaultInterval.String()).Described("The time between two payload datagrams of a peer, 1ms to 10s."),
		"size":      document.IntSchema(minSize, maxSize).Default(DefaultSize).Described("The size of a payload datagram in bytes."),
		"scale": document.IntSchema(1, maxScale).Default(1).Described("Divides the times of NATs, keepalives, quiet spells and waits, " +
			"so that a scenario with real timeouts takes seconds; --real-time runs it as written."),
	}).Described("How the peers behave.")
}

func phasesSchema() document.Schema {
	phase := document.ObjectSchema(map[string]document.Schema{
		"name":   document.TextSchema().Described("What the phase is called in reports."),
		"do":     document.ListSchema(actionSchema(phaseKinds())).Described("What is done at its beginning, in this order."),
		"expect": expectSchema(),
	}, "name", "expect")
	return listOf(phase, 1).Described("Stretches of the run, each with an expectation of its own. Instead of expect.")
}

func expectSchema() document.Schema {
	keys := map[string]document.Schema{
		"path": document.WordSchema(string(Direct), string(Relay), string(None), string(Mixed)).
			Described("The path that payload must take in the end; mixed: each pair that which its NATs allow."),
		"mapping": document.Schema{"type": "object", "additionalProperties": document.WordSchema(MappingKept, MappingLost)}.
			Described("By peer: whether its mapping must have been kept since the phase before, or lost."),
		"gap":     document.DurationSchema().Described("How long payload may be silent at most, around what is done in the phase."),
		"probes":  document.IntSchema(1, 65536).Described("To how many different addresses and ports, past the servers, a peer's host may have sent since the start."),
		"reaches": nameSchema("With path none: the router that payload must reach, although it must not reach the host behind it."),
	}
	maps.Copy(keys, systemExpectations())
	maps.Copy(keys, programExpectations())
	s := document.ObjectSchema(keys).Described("What has to come of it.")
	s["anyOf"] = []document.Schema{{"required": []string{"path"}}, {"required": []string{"exits"}}, {"required": []string{"output"}}, {"required": []string{"delivered"}}}
	return s
}

func controlSchema() document.Schema {
	s := document.ObjectSchema(map[string]document.Schema{
		"name": document.TextSchema().Described("What the control is called in reports."),
		"why":  document.TextSchema().Described("What it guards against, in a sentence."),
		"nats": document.Schema{"type": "object", "additionalProperties": sim.NATSchema()}.
			Described("Routers whose NAT is another; one that was only a firewall becomes that NAT and nothing else."),
		"open":       document.ListSchema(document.TextSchema()).Described("Routers and hosts whose firewalls are taken away."),
		"before":     document.ListSchema(actionSchema(beforeKinds)).Described("What is done before the peers start."),
		"techniques": listOf(document.WordSchema(Techniques...), 0).Described("Instead of the scenario's."),
		"keepalive":  keepaliveSchema(),
		"phases":     phasesSchema(),
		"events":     sim.TimelineSchema().Described("Instead of the scenario's."),
		"expect":     expectSchema(),
	}, "name", "why")
	s["oneOf"] = []document.Schema{{"required": []string{"phases"}}, {"required": []string{"expect"}}}
	return s
}

// actionSchema is a mapping with one key, the action.
func actionSchema(kinds []ActionKind) document.Schema {
	properties := map[string]document.Schema{}
	for _, kind := range kinds {
		properties[string(kind)] = actionArguments(kind)
	}
	s := document.ObjectSchema(properties)
	s["minProperties"], s["maxProperties"] = 1, 1
	return s
}

// actionArguments is what an action takes.
func actionArguments(kind ActionKind) document.Schema {
	server := document.WordSchema(ServerRendezvous, ServerRelay)
	oneRelay := document.ObjectSchema(map[string]document.Schema{"relay": nameSchema("The host of one of several relays.")}, "relay")
	switch kind {
	case ActSend:
		return document.ObjectSchema(map[string]document.Schema{
			"from": nameSchema("The peer that sends."), "count": document.IntSchema(1, maxCount).Described("How many datagrams."),
		}, "count", "from").Described("One peer alone sends payload, while it is quiet.")
	case ActRestart:
		return document.Schema{"anyOf": []document.Schema{server, sim.EventSchema(sim.EventRestart), oneRelay,
			document.ObjectSchema(map[string]document.Schema{"peer": nameSchema("The peer.")}, "peer")}}.
			Described("A server, a program or a peer ends and starts anew.")
	case ActStop:
		return document.Schema{"anyOf": []document.Schema{server, oneRelay}}.Described("A server ends.")
	case ActKill:
		return document.Schema{"anyOf": []document.Schema{systemArguments(kind), sim.EventSchema(sim.EventKill)}}.
			Described("Servers of a system, or programs, end at once, by SIGKILL.")
	case ActStart, ActDrain:
		return systemArguments(kind)
	case ActQuiet:
		return document.DurationSchema().Described("No peer sends payload for so long.")
	case ActWait:
		return document.DurationSchema().Described("Payload flows for so long.")
	}
	return sim.EventSchema(sim.EventKind(kind))
}
