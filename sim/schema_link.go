package sim

import (
	"p2pmodel/sim/document"
	"p2pmodel/sim/link"
)

func impairmentProperties() map[string]document.Schema {
	probability := document.ProbabilitySchema
	wander := document.ObjectSchema(map[string]document.Schema{
		"delay": document.DurationSchema().Described("How much is added to the delay at most."),
		"every": document.DurationSchema().Described("How often it is drawn again."),
	}, "delay", "every")
	overtake := document.ObjectSchema(map[string]document.Schema{
		"share":       probability().Described("The probability that a packet which may overtake does."),
		"gap":         document.IntSchema(1, link.MaxGap).Described("Of so many packets in a row, one may overtake; nothing: any may."),
		"correlation": probability().Default(0).Described("The probability that a packet does what the one before did."),
	}, "share")
	burst := document.ObjectSchema(map[string]document.Schema{
		"loss":   probability().Described("The share of all packets that is lost."),
		"length": document.FloatSchema(1, maxBurst).Described("How many packets long a burst is on average."),
		"p":      probability().Described("The probability that a burst begins with the next packet."),
		"r":      probability().Described("The probability that it ends with the next packet."),
		"bad":    probability().Default("100%").Described("The loss during a burst."),
		"good":   probability().Default(0).Described("The loss outside of bursts."),
	})
	burst["anyOf"] = []document.Schema{{"required": []string{"loss", "length"}}, {"required": []string{"p", "r"}}}
	mtu := document.ObjectSchema(map[string]document.Schema{
		"size": document.IntSchema(link.MinMTU, link.MaxMTU).Described("Bytes of an IP packet."),
		"icmp": document.BoolSchema().Default(true).Described("Whether what is larger, with DF set, is answered by ICMP Fragmentation Needed; false: it is lost in silence."),
	}, "size")
	return map[string]document.Schema{
		"delay":              document.DurationSchema().Default(0).Described("One-way delay."),
		"jitter":             document.DurationSchema().Default(0).Described("Half-width of the uniform spread around delay, or standard deviation of the normal one; at most delay."),
		"jitter-correlation": probability().Default(0).Described("How much of a packet's jitter is that of the one before."),
		"distribution":       document.WordSchema(link.Distributions()...).Default(link.Distributions()[0]).Described("How jitter is spread."),
		"reorder":            document.BoolSchema().Default(false).Described("Packets may overtake each other where jitter makes them."),
		"wander":             wander.Described("A slow change of the delay."),
		"overtake":           document.Schema{"anyOf": []document.Schema{probability(), overtake}}.Default(0).Described("The share of packets that skip the delay."),
		"loss":               probability().Default(0).Described("The probability that a packet is lost, independently."),
		"burst":              burst.Described("Loss in bursts (Gilbert-Elliott), by loss and length, or by p and r. Instead of loss."),
		"duplicate":          probability().Default(0).Described("The probability that a packet arrives twice."),
		"corrupt":            probability().Default(0).Described("The probability that one bit of a packet is flipped."),
		"rate":               document.RateSchema().Described("Capacity in bits a second; nothing: unlimited."),
		"trace":              document.TextSchema().Described("A file with a recorded capacity in Mahimahi's format, relative to this one. Instead of rate."),
		"queue":              document.SizeSchema().Described("Bytes that wait for a link with a rate or trace; nothing: 100 ms worth of it."),
		"mtu": document.Schema{"anyOf": []document.Schema{document.IntSchema(link.MinMTU, link.MaxMTU), mtu}}.
			Default(link.MaxMTU).Described("Bytes of the largest IP packet that passes."),
	}
}

func linkSchema() document.Schema {
	return document.Schema{"anyOf": []document.Schema{document.WordSchema(link.ProfileNames()...), document.ObjectSchema(linkProperties()), {"type": "null"}}}
}

// linkProperties are the keys of a link.
func linkProperties() map[string]document.Schema {
	properties := impairmentProperties()
	properties["profile"] = document.WordSchema(link.ProfileNames()...).Described("What a known kind of link does; the other keys override it.")
	properties["up"] = orNull(document.ObjectSchema(impairmentProperties())).Described("What differs towards the internet.")
	properties["down"] = orNull(document.ObjectSchema(impairmentProperties())).Described("What differs away from the internet.")
	return properties
}
