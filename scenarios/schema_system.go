package scenarios

import "p2pmodel/sim/document"

// hostsSchema is a list of hosts, at least one.
func hostsSchema(description string) document.Schema {
	return listOf(document.TextSchema(), 1).Described(description)
}

func systemSchema() document.Schema {
	shard := document.ObjectSchema(map[string]document.Schema{
		"host":       nameSchema("The host of its Lobby and Game."),
		"rendezvous": nameSchema("The host of its rendezvous."),
		"relay":      nameSchema("The host of its relay."),
		"later":      document.BoolSchema().Default(false).Described("It does not run from the start: an action starts it."),
	}, "host", "rendezvous", "relay")
	return document.ObjectSchema(map[string]document.Schema{
		"engines":     hostsSchema("The hosts on which NATS servers run, one or a cluster of three."),
		"directories": hostsSchema("The hosts on which directories run."),
		"agents":      hostsSchema("The hosts on which Agents run; players log in at any of them."),
		"shards": document.Schema{"type": "object", "minProperties": 1, "additionalProperties": shard}.
			Described("The shards, by name: each with hosts of its own for Lobby and Game, rendezvous, relay."),
	}, "engines", "directories", "agents", "shards").
		Described("The shard structure instead of rendezvous and relay: its servers run as processes on hosts, the peers are players who log in.")
}

func roomsSchema() document.Schema {
	return document.Schema{"type": "object", "minProperties": 1, "additionalProperties": listOf(document.TextSchema(), 2)}.
		Described("With system: which peers play with which, by room; each peer is in one, and connected to all others there.")
}

func loadSchema() document.Schema {
	return document.ObjectSchema(map[string]document.Schema{
		"host":  nameSchema("The host of all its clients; nothing else runs there."),
		"rooms": document.IntSchema(1, maxLoadRooms).Described("How many rooms they have, of two clients each."),
		"every": document.DurationSchema().Described("The time between two requests of a client."),
		"fresh": document.DurationSchema().Described("The time between two new rooms that they make besides and leave soon; nothing: none."),
	}, "host", "rooms", "every").Described("With system: further clients that keep asking.")
}

// serversSchema says which servers an action is about: by exactly one key.
func serversSchema(keys map[string]document.Schema) document.Schema {
	s := document.ObjectSchema(keys)
	var one []document.Schema
	for _, key := range document.Sorted(keys) {
		if key != "deadline" {
			one = append(one, document.Schema{"required": []string{key}})
		}
	}
	s["oneOf"] = one
	return s
}

// systemArguments is what an action about servers takes.
func systemArguments(kind ActionKind) document.Schema {
	host := nameSchema("All servers of this host.")
	shard := nameSchema("All servers of this shard.")
	shardOf := nameSchema("All servers of the shard that has this room at the time.")
	switch kind {
	case ActKill:
		return serversSchema(map[string]document.Schema{"host": host, "shard": shard, "shard-of": shardOf}).
			Described("Servers end at once, by SIGKILL.")
	case ActStart:
		return serversSchema(map[string]document.Schema{"host": host, "shard": shard}).
			Described("Servers that do not run are started.")
	}
	// ActDrain
	return serversSchema(map[string]document.Schema{
		"shard": shard, "shard-of": shardOf,
		"deadline": document.DurationSchema().Described("When rooms that are left are handed over to other shards; nothing: they finish."),
	}).Described("A shard takes no new rooms any more.")
}

// systemExpectations are the keys of an expectation that are about a system.
func systemExpectations() map[string]document.Schema {
	ports := listOf(document.Schema{"type": "string", "pattern": `^(tcp|udp)/[0-9]{1,5}(-[0-9]{1,5})?$`}, 1)
	return map[string]document.Schema{
		"rooms": document.Schema{"type": "object", "additionalProperties": document.WordSchema(RoomStayed, RoomMoved)}.
			Described("By room: whether the same shard has it as in the phase before, or another."),
		"resumed": document.DurationSchema().Described("How long players who lost their Agent may take to be back at another one."),
		"moved":   document.DurationSchema().Described("How long players of a moved room may take to have tickets of another shard."),
		"load": document.ObjectSchema(map[string]document.Schema{
			"failed":  document.IntSchema(0, maxCount).Default(0).Described("How many requests may fail. Those of rooms whose shard was killed do not count."),
			"slowest": document.DurationSchema().Described("How long a request may take, of the same rooms."),
			"placed":  document.ListSchema(document.TextSchema()).Described("Shards that must have got new rooms in the phase."),
			"only":    document.BoolSchema().Default(false).Described("No other shards may have."),
		}, "slowest").Described("What has to come of the load."),
		"scans": document.ListSchema(document.ObjectSchema(map[string]document.Schema{
			"from": nameSchema("The host that scans."),
			"open": document.Schema{"type": "object", "additionalProperties": ports}.
				Described("By host of a server: the ports that the scan must find, and no others."),
		}, "from", "open")).Described("Scans of all TCP and UDP ports of all servers."),
		"one-owner": document.BoolSchema().Described("By the history that all servers wrote, no room had two owners."),
	}
}
