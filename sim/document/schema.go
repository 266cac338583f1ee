package document

import "maps"

// Schema is a JSON Schema (draft 2020-12) or a part of one: it tells editors what
// a file may hold. It marshals to JSON as it is.
type Schema map[string]any

// Described gives the schema with a description, which editors show.
func (s Schema) Described(description string) Schema {
	return s.with("description", description)
}

// Default gives the schema with the value that counts where the key is not there,
// as files have it.
func (s Schema) Default(value any) Schema { return s.with("default", value) }

func (s Schema) with(key string, value any) Schema {
	out := make(Schema, len(s)+1)
	maps.Copy(out, s)
	out[key] = value
	return out
}

// ObjectSchema is a mapping with these keys only.
func ObjectSchema(properties map[string]Schema, required ...string) Schema {
	s := Schema{"type": "object", "properties": properties, "additionalProperties": false}
	if len(required) > 0 {
		s["required"] = required
	}
	return s
}

// MapSchema is a mapping from names of the given pattern, a regular expression,
// to values.
func MapSchema(pattern string, value Schema) Schema {
	return Schema{"type": "object", "propertyNames": Schema{"pattern": pattern}, "additionalProperties": value}
}

// ListSchema is a list of items.
func ListSchema(item Schema) Schema { return Schema{"type": "array", "items": item} }

// TextSchema is any text.
func TextSchema() Schema { return Schema{"type": "string"} }

// WordSchema is one of the words.
func WordSchema(words ...string) Schema { return Schema{"enum": words} }

// BoolSchema is what Node.Bool takes.
func BoolSchema() Schema { return Schema{"type": "boolean"} }

// IntSchema is what Node.Int takes.
func IntSchema(low, high int) Schema {
	return Schema{"type": "integer", "minimum": low, "maximum": high}
}

// FloatSchema is what Node.Float takes.
func FloatSchema(low, high float64) Schema {
	return Schema{"type": "number", "minimum": low, "maximum": high}
}

// PortSchema is what Node.Port takes.
func PortSchema() Schema { return IntSchema(1, 65535) }

// DurationSchema is what Node.Duration takes.
func DurationSchema() Schema {
	return Schema{
		"anyOf": []Schema{
			{"type": "string", "pattern": `^\+?([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)(([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))*$`},
			{"const": 0},
		},
		"examples": []string{"20ms", "5s", "1m30s"},
	}
}

// ProbabilitySchema is what Node.Probability takes.
func ProbabilitySchema() Schema {
	return Schema{
		"anyOf": []Schema{
			{"type": "string", "pattern": `^([0-9]+\.?[0-9]*|\.[0-9]+) *%$`},
			{"type": "number", "minimum": 0, "maximum": 1},
		},
		"examples": []any{"2%", 0.02},
	}
}

// RateSchema is what Node.Rate takes.
func RateSchema() Schema {
	return Schema{
		"type": "string", "pattern": `^([0-9]+\.?[0-9]*|\.[0-9]+) *[kKmMgGtT]?[bB][iI][tT](/[sS])?$`,
		"examples": []string{"384kbit", "50Mbit"},
	}
}

// SizeSchema is what Node.Size takes.
func SizeSchema() Schema {
	return Schema{
		"anyOf": []Schema{
			{"type": "string", "pattern": `^([0-9]+\.?[0-9]*|\.[0-9]+) *([kKmMgG][iI]?)?[bB]$`},
			{"type": "integer", "minimum": 0},
		},
		"examples": []any{3000, "64kB", "64KiB"},
	}
}
