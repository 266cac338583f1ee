package scenarios

import (
	"maps"
	"slices"

	"p2pmodel/sim/document"
)

func programsSchema() document.Schema {
	keys := programProperties()
	keys["host"] = nameSchema("The host on which it runs.")
	return document.Schema{"type": "object", "minProperties": 1, "additionalProperties": document.ObjectSchema(keys, "host", "run")}.
		Described("Commands on hosts, by name: they start in this order, each once the one before is ready. One on the host of the rendezvous or relay is that server.")
}

// foreignPeers is that all peers are programs.
func foreignPeers() document.Schema {
	return document.Schema{"additionalProperties": document.Schema{"required": []string{"run"}}}
}

// programProperties are the keys of a program, beside its host.
func programProperties() map[string]document.Schema {
	text := document.TextSchema
	within := func(what string) document.Schema { return document.DurationSchema().Described(what) }
	return map[string]document.Schema{
		"run": document.Schema{"anyOf": []document.Schema{{"type": "string", "minLength": 1}, listOf(text(), 1)}, "examples": []any{"iperf3 -c $LAB_ADDR_SERVER"}}.
			Described("The command: a line, or a list of words. $LAB_… are the lab's variables; there is no shell unless it is the command."),
		"needs": document.ListSchema(text()).Described("Further commands that it starts, which have to be installed."),
		"user":  document.Schema{"type": []string{"string", "integer"}}.Described("The name or number of the user that it runs as; nothing: ours."),
		"env":   document.Schema{"type": "object", "additionalProperties": document.Schema{"type": []string{"string", "number"}}}.Described("Further variables of its environment."),
		"dir":   text().Described("Where it runs, relative to the file; nothing: a folder that the run's programs share."),
		"ready": document.ObjectSchema(map[string]document.Schema{
			"port":   document.Schema{"type": "string", "pattern": `^(tcp|udp)/[0-9]{1,5}$`}.Described("A port that it has bound, as tcp/443 or udp/3478."),
			"line":   text().Described("A regular expression that a line of its output matches."),
			"file":   text().Described("A file that it writes, relative to its folder."),
			"within": within("How long it may take.").Default(DefaultReadyWithin.String()),
		}).Described("When it is ready; all that is said must hold. Nothing: once it runs, or when its adapter says so."),
		"adapter": document.WordSchema(adapterJSON).Described("Lines of its standard output that are JSON objects are events; see docs/programs.md."),
		"stop": document.ObjectSchema(map[string]document.Schema{
			"signal": document.WordSchema(slices.Sorted(maps.Keys(StopSignals))...).Default(DefaultStopSignal).Described("The signal that asks it to end."),
			"within": within("How long it may take until it is killed.").Default(DefaultStopWithin.String()),
		}).Described("How it is ended."),
	}
}

// programExpectations are the keys of an expectation that are about programs.
func programExpectations() map[string]document.Schema {
	byProgram := func(value document.Schema, what string) document.Schema {
		return document.Schema{"type": "object", "minProperties": 1, "additionalProperties": value}.Described(what)
	}
	return map[string]document.Schema{
		"exits":  byProgram(document.IntSchema(0, 255), "By program: the status with which it ends by itself; 128 and the signal's number, if one ends it."),
		"output": byProgram(document.TextSchema(), "By program: a regular expression that matches what it prints in the phase."),
		"delivered": listOf(document.ObjectSchema(map[string]document.Schema{
			"from":  nameSchema("The host that sends."),
			"to":    nameSchema("The host that it enters."),
			"bytes": document.SizeSchema().Described("How much of UDP and TCP payload at least; 0: none may arrive."),
			"over":  document.WordSchema(string(Direct), string(Relay)).Described("The path that all of it takes; nothing: any."),
		}, "from", "to", "bytes"), 1).Described("Payload that the witness sees leave one host and enter another."),
		"within": document.DurationSchema().Default(DefaultProgramsWithin.String()).Described("How long programs may take for exits, output and delivered."),
	}
}
