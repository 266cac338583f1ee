package campaign

import (
	"p2pmodel/scenarios"
	"p2pmodel/scenarios/trial"
	"p2pmodel/sim"
	"p2pmodel/sim/document"
)

// Schema gives the JSON Schema (draft 2020-12) of population files, for editors:
// `natlab schema population` prints it.
func Schema() document.Schema {
	techniques := document.ListSchema(document.WordSchema(scenarios.Techniques...))
	techniques["minItems"] = 1
	s := document.ObjectSchema(map[string]document.Schema{
		"id":          document.Schema{"type": "string", "pattern": namePattern}.Described("What the population is called on command lines and in reports."),
		"title":       document.TextSchema().Described("The population in a few words."),
		"description": document.TextSchema().Described("Who they are, and what is left out, for readers."),
		"networks":    byName(networkSchema()).Described("The networks that players are in, by name; their weights sum up to 100."),
		"rooms": based(map[string]document.Schema{
			"sizes": document.MapSchema(`^[0-9]+$`, weightSchema()).Described("Per cent of matches by the number of players, 2 to 16, that connect each to each, as {2: 80, 4: 20}."),
		}, "sizes").Described("How many play together; nothing: pairs."),
		"traffic": based(map[string]document.Schema{
			"rate": document.IntSchema(1, maxRate).Described("Datagrams a second that a player sends to each other player."),
			"size": document.IntSchema(trial.MinSize, trial.MaxSize).Described("Bytes of payload in each."),
		}, "rate", "size").Described("What the game sends."),
		"play": based(map[string]document.Schema{
			"session": document.DurationSchema().Described("How long a match is, 1m to 24h."),
			"hours":   document.FloatSchema(0, maxHours).Described("Hours that a player plays in a month."),
			"online":  document.IntSchema(1, maxOnline).Described("Players at once, for the relay's capacity."),
		}, "session", "hours", "online").Described("How long and how many play."),
		"price": based(map[string]document.Schema{
			"per-gb":   document.FloatSchema(0, maxPrice).Described("Of 10⁹ bytes that leave the relay."),
			"currency": document.TextSchema().Described("As USD."),
		}, "per-gb", "currency").Described("What the relay's traffic costs; nothing: no price is given."),
		"keepalive":  document.DurationSchema().Described("How often idle paths are kept alive; nothing: the core's own."),
		"techniques": techniques.Described("What is played: plain is checks from one socket, which all do; the others are added to it. Nothing: plain."),
		"sensitivity": document.MapSchema(`^[A-Za-z0-9][A-Za-z0-9_-]*(/[A-Za-z0-9][A-Za-z0-9_-]*)?$`, based(map[string]document.Schema{
			"low":  document.FloatSchema(0, all).Described("Per cent that it is at least."),
			"high": document.FloatSchema(0, all).Described("Per cent that it is at most."),
		}, "low", "high")).Described("Bands of weights that are uncertain: of NETWORK, NETWORK/NAT, NETWORK/udp-blocked or NETWORK/same-home. Those beside it keep their proportions."),
		"compare": document.ListSchema(comparisonSchema()).Described("Published figures to be held against what comes out."),
	}, "id", "title", "networks", "traffic", "play")
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["title"] = "P2PModel population"
	return s
}

func byName(value document.Schema) document.Schema { return document.MapSchema(namePattern, value) }

func weightSchema() document.Schema {
	return document.Schema{"type": "number", "exclusiveMinimum": 0, "maximum": all}
}

// based is a mapping that says how well it is known.
func based(properties map[string]document.Schema, required ...string) document.Schema {
	var letters []string
	for _, e := range Evidences() {
		letters = append(letters, string(e))
	}
	properties["evidence"] = document.WordSchema(letters...).
		Described("How well it is known: V read in the primary text, T measured, S quoted by a secondary source, D derived, M from memory, A assumed.")
	properties["source"] = document.TextSchema().Described("Where it is from; of what was assumed, why so.")
	return document.ObjectSchema(properties, append(required, "evidence", "source")...)
}

func networkSchema() document.Schema {
	weight := weightSchema().Described("Per cent of players.")
	router := document.ObjectSchema(map[string]document.Schema{
		"nat":       sim.NATSchema(),
		"firewall":  sim.FirewallSchema(),
		"addresses": document.IntSchema(1, sim.MaxAddresses).Default(1).Described("How many external addresses a NAT has."),
	})
	router["minProperties"] = 1
	chain := document.ListSchema(router)
	chain["maxItems"] = MaxChain
	share := func(what string) document.Schema {
		return based(map[string]document.Schema{"share": document.ProbabilitySchema().Described("The probability.")}, "share").Described(what)
	}
	return based(map[string]document.Schema{
		"title":  document.TextSchema().Described("What sort of network it is."),
		"weight": weight,
		"nats": byName(based(map[string]document.Schema{
			"weight": weightSchema().Described("Per cent of the network's players."),
			"chain":  chain.Described("The routers from the player outward; []: a public host. Nothing: one with the preset that the entry is named after."),
		}, "weight")).Described("What players of the network are behind, by name; the weights sum up to 100."),
		"links": byName(based(map[string]document.Schema{
			"weight": weightSchema().Described("Per cent of the network's players."),
			"link":   sim.LinkSchema().Described("What the line does. Nothing: the profile that the entry is named after."),
		}, "weight")).Described("Their lines, by name; the weights sum up to 100."),
		"udp-blocked": share("The share of these networks that let no UDP out."),
		"same-home":   share("The probability that who plays with a player sits behind the same first router."),
	}, "title", "weight", "nats", "links")
}

func comparisonSchema() document.Schema {
	var ids []string
	for _, f := range Figures() {
		ids = append(ids, f.ID)
	}
	of := document.ListSchema(document.TextSchema())
	of["minItems"], of["maxItems"] = 2, 2
	return document.ObjectSchema(map[string]document.Schema{
		"figure":  document.WordSchema(ids...).Described("Which one; natlab campaign --figures lists them."),
		"of":      of.Described("The two networks between which it is; nothing: all pairs."),
		"derived": document.BoolSchema().Default(false).Described("A weight of this file was taken from this very figure, so that agreement proves nothing."),
		"why":     document.TextSchema().Described("What file and model cannot know about it."),
	}, "figure", "why")
}

// FilesSection is what the page of all keys has about population files.
func FilesSection() []byte {
	var r document.Reference
	r.Write("population", Schema())
	return append([]byte(`
## Populations

Every key of a population's file, for `+"`natlab campaign`"+` ([campaigns.md](campaigns.md)), made from its schema
(`+"`natlab schema population`"+`).
`), r.Bytes()...)
}
