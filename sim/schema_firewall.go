package sim

import (
	"fmt"
	"strings"

	"p2pmodel/nat"
	"p2pmodel/sim/document"
)

// firewallTitles describe the keys of a firewall for people.
var firewallTitles = map[string]string{
	nat.FirewallKeyInbound:   "What may enter: everything, or replies to what left.",
	nat.FirewallKeyUDP:       "The destination ports to which UDP may leave.",
	nat.FirewallKeyTCP:       "The destination ports to which TCP may leave.",
	nat.FirewallKeyOther:     "Whether what is neither UDP nor TCP may leave.",
	nat.FirewallKeyReject:    "Who gets an ICMP error about what is dropped: nobody, those inside, those outside, both.",
	nat.FirewallKeyTCPReject: "How those inside are told about TCP: by that error too, or by a reset.",
	nat.FirewallKeyPortal:    "A captive portal, on routers: hosts behind have to log in first; a duration: for how long that lasts.",
}

func firewallSchema() document.Schema {
	var presets []string
	var titles strings.Builder
	for _, p := range nat.FirewallPresets() {
		presets = append(presets, p.Name)
		fmt.Fprintf(&titles, "\n%s: %s.", p.Name, p.Title)
	}
	properties := map[string]document.Schema{
		nat.PresetKey: document.WordSchema(presets...).Described("A firewall by name, which the other keys override." + titles.String()),
	}
	for _, key := range nat.FirewallKeys() {
		properties[key] = firewallValueSchema(key).Default(nat.Firewall{}.Get(key)).Described(firewallTitles[key])
	}
	for key, s := range accessProperties() {
		properties[key] = s
	}
	mapping := document.ObjectSchema(properties)
	mapping["minProperties"] = 1
	return document.Schema{"anyOf": []document.Schema{
		document.WordSchema(presets...),
		{"type": "string", "pattern": "=", "examples": []string{"inbound=replies,udp=3478+443", "tcp-443-only,reject=out"}},
		mapping,
	}}.Described("A packet filter. Nothing: everything passes." + titles.String())
}

// firewallValueSchema is what a key's Set accepts, and lists of ports.
func firewallValueSchema(key string) document.Schema {
	words := document.WordSchema(nat.FirewallValues(key)...)
	switch key {
	case nat.FirewallKeyUDP, nat.FirewallKeyTCP:
		return document.Schema{"anyOf": []document.Schema{
			document.ListSchema(document.PortSchema()),
			words,
			document.PortSchema(),
			{"type": "string", "pattern": `^[0-9]+( *\+ *[0-9]+)*$`, "examples": []string{"3478+443"}},
		}}
	case nat.FirewallKeyPortal:
		return document.Schema{"anyOf": []document.Schema{words, document.BoolSchema(), document.DurationSchema()}}
	}
	return words
}

// accessProperties are the lists of a firewall.
func accessProperties() map[string]document.Schema {
	one := document.Schema{"anyOf": []document.Schema{document.PortSchema(), {"type": "string", "pattern": `^ *[0-9]+ *(- *[0-9]+ *)?$`, "examples": []string{"49152-65535"}}}}
	several := document.ListSchema(one)
	several["minItems"] = 1
	ports := document.Schema{
		"anyOf":    []document.Schema{document.WordSchema(wordAll), one, several},
		"examples": []any{[]any{443, "49152-65535"}, wordAll},
	}
	rule := document.ObjectSchema(map[string]document.Schema{
		nat.RuleKeyFrom: document.TextSchema().Described("The host that may begin; nothing: any on its side."),
		nat.RuleKeyTo:   document.TextSchema().Described("The host that it may begin to; nothing: any on its side."),
		nat.RuleKeyTCP:  ports.Described("Destination ports of TCP."),
		nat.RuleKeyUDP:  ports.Described("Destination ports of UDP."),
	})
	rule["anyOf"] = []document.Schema{{"required": []string{nat.RuleKeyTCP}}, {"required": []string{nat.RuleKeyUDP}}}
	rules := document.ListSchema(rule)
	rules["minItems"] = 1
	passage := document.Schema{"anyOf": []document.Schema{document.WordSchema(wordAll, wordNone), rules}}
	return map[string]document.Schema{
		nat.AccessKeyAllow:    rules.Described("Holes for flows from outside to hosts behind, where inbound is replies."),
		nat.AccessKeyOutbound: passage.Default(wordAll).Described("The flows that hosts behind may begin towards the outside."),
		nat.AccessKeyBetween:  passage.Default(wordAll).Described("The flows that may begin between two hosts behind, through the router."),
	}
}
