package sim

import (
	"fmt"
	"strconv"
	"strings"

	"p2pmodel/nat"
	"p2pmodel/sim/document"
)

// namePattern is what validName checks, for editors.
const namePattern = `^[A-Za-z0-9][A-Za-z0-9_-]*$`

// Schema gives the JSON Schema (draft 2020-12) of a lab, that is, of what stands
// under `lab:` in a file. Its words come from package nat. It is stricter than
// the decoder in one thing: it wants the words of NAT in their usual case.
func Schema() document.Schema {
	return document.ObjectSchema(map[string]document.Schema{
		"routers": document.MapSchema(namePattern, routerSchema()).Described("Nodes that forward, by name: with NAT, with a firewall, with both, or plainly."),
		"hosts":   document.MapSchema(namePattern, hostSchema()).Described("Machines on which programs run, by name."),
		"links": document.MapSchema(`^[A-Za-z0-9][A-Za-z0-9_-]*(/[A-Za-z0-9][A-Za-z0-9_-]*)?$`, linkSchema()).
			Described("What uplinks do to packets, by node, or by node/uplink for hosts with several. Uplinks that are not mentioned are perfect."),
	}).Described("The network: a tree whose root is the internet.")
}

func behindSchema() document.Schema {
	return document.TextSchema().Default(Internet).Described("The router that this stands behind; internet: directly on the Internet.")
}

// orNull allows an entry without anything: `relay:`.
func orNull(s document.Schema) document.Schema {
	s["type"] = []string{"object", "null"}
	return s
}

func routerSchema() document.Schema {
	return orNull(document.ObjectSchema(map[string]document.Schema{
		"nat":       NATSchema(),
		"firewall":  firewallSchema(),
		"behind":    behindSchema(),
		"addresses": document.IntSchema(1, MaxAddresses).Default(1).Described("How many external addresses a NAT has."),
	}))
}

func hostSchema() document.Schema {
	uplink := orNull(document.ObjectSchema(map[string]document.Schema{"behind": behindSchema()}))
	s := orNull(document.ObjectSchema(map[string]document.Schema{
		"behind":    behindSchema(),
		"uplinks":   document.MapSchema(namePattern, uplink).Described("Several ways into the network, by name; one is active. Instead of behind."),
		"active":    document.TextSchema().Described("The uplink in use at the start; nothing: the first."),
		"addresses": document.IntSchema(1, MaxAddresses).Default(1).Described("How many addresses each uplink has; servers of RFC 5780 discovery need two."),
		"firewall":  firewallSchema(),
	}))
	s["not"] = document.Schema{"type": "object", "required": []string{"behind", "uplinks"}}
	return s
}

// axisTitles describe the axes of a behaviour for people.
var axisTitles = map[nat.Axis]string{
	nat.AxisMapping:   "Which destinations share a mapping (RFC 4787 section 4.1).",
	nat.AxisFiltering: "Who may send to a mapping (RFC 4787 section 5).",
	nat.AxisPorts:     "How the external port is chosen.",
	nat.AxisScope:     "Whether each mapping has a filter of its own, or all of an inside endpoint share one.",
	nat.AxisRange:     "The external ports.",
	nat.AxisPooling:   "How the external address is chosen among several.",
	nat.AxisTimeout:   "The idle timeout of a mapping; naming one asks for its certification.",
	nat.AxisRefresh:   "Which direction of traffic keeps a mapping alive.",
	nat.AxisHairpin:   "What becomes of packets from inside to an external address.",
	nat.AxisSize:      "How many mappings there may be.",

	nat.AxisFallback:    "What ports=preserve does where the port is taken.",
	nat.AxisDelta:       "The step between sequential ports.",
	nat.AxisBlock:       "The number of ports of a block, for ports=block.",
	nat.AxisParity:      "Whether even ports get even ones, and odd ports odd ones.",
	nat.AxisStream:      "The idle timeout of UDP mappings through which packets passed both ways.",
	nat.AxisTimeoutTCP:  "The idle timeout of TCP mappings.",
	nat.AxisTimeoutICMP: "The idle timeout of ICMP echo mappings.",
	nat.AxisRotate:      "The age at which a mapping in use is replaced by another one.",
	nat.AxisFull:        "What becomes of a new mapping in a full table.",
	nat.AxisKind:        "By what machine the NAT is made: one that follows its axes, or a masquerade of Linux, which decides most of them.",
	nat.AxisEarly:       "What a masquerade does with packets from outside that nobody expects.",
}

// NATSchema is the schema of what DecodeNAT takes: a behaviour by preset, as text or
// by axes.
func NATSchema() document.Schema {
	var presets, aliases []string
	var titles strings.Builder
	for _, p := range nat.Presets() {
		presets = append(presets, p.Name)
		aliases = append(aliases, p.Aliases...)
		fmt.Fprintf(&titles, "\n%s: %s.", p.Name, p.Title)
	}
	words := append(presets, aliases...)
	properties := map[string]document.Schema{
		nat.PresetKey: document.WordSchema(words...).Described("A behaviour by name, whose axes the other keys override." + titles.String()),
	}
	for _, a := range nat.Axes() {
		properties[string(a)] = axisSchema(a).Default(axisDefault(a)).Described(axisTitles[a])
	}
	axes := document.ObjectSchema(properties)
	axes["minProperties"] = 1
	return document.Schema{"anyOf": []document.Schema{
		document.WordSchema(words...),
		{"type": "string", "pattern": "=", "examples": []string{"symmetric,ports=random", nat.Behavior{}.String()}},
		axes,
	}}.Described("What the router's NAT does: a preset, the text form, or axes. Nothing: it does not translate." + titles.String())
}

// axisDefault is what counts where neither the key nor a preset says more.
func axisDefault(a nat.Axis) any {
	value := nat.Behavior{}.Get(a)
	if number, err := strconv.Atoi(value); err == nil {
		return number
	}
	return value
}

// axisSchema derives the values of an axis from what its Set accepts.
func axisSchema(a nat.Axis) document.Schema {
	switch a {
	case nat.AxisMapping, nat.AxisFiltering:
		words := a.Values()
		for d := nat.EndpointIndependent; d <= nat.AddressAndPortDependent; d++ {
			words = append(words, d.String())
		}
		return document.WordSchema(words...)
	case nat.AxisRange:
		return document.Schema{"type": "string", "pattern": `^[0-9]+ *- *[0-9]+$`, "examples": []string{nat.DefaultPortRange.String()}}
	case nat.AxisTimeout, nat.AxisStream, nat.AxisTimeoutTCP, nat.AxisTimeoutICMP:
		return document.DurationSchema()
	case nat.AxisRotate:
		return document.Schema{"anyOf": []document.Schema{document.WordSchema(a.Values()[0]), document.DurationSchema()}}
	case nat.AxisSize:
		return document.IntSchema(1, nat.MaxTableSize)
	case nat.AxisDelta:
		return document.IntSchema(1, nat.MaxDelta)
	case nat.AxisBlock:
		return document.IntSchema(nat.MinBlock, nat.MaxBlock)
	}
	return document.WordSchema(a.Values()...)
}
