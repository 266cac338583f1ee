package nat

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// PresetKey is the key of the YAML mapping that names a preset, whose axes the
// other keys override.
const PresetKey = "preset"

// YAMLKeys gives the keys of a behaviour's YAML mapping: PresetKey and the axes.
func YAMLKeys() []string {
	keys := []string{PresetKey}
	for _, a := range Axes() {
		keys = append(keys, string(a))
	}
	return keys
}

// UnmarshalYAML reads a behaviour from a scalar, the text form, or from a
// mapping with the keys of YAMLKeys. It is the interface that goccy/go-yaml and
// its kin look for. Errors carry no position: who has one uses Set for each key.
func (b *Behavior) UnmarshalYAML(unmarshal func(any) error) error {
	var text string
	if unmarshal(&text) == nil {
		return b.UnmarshalText([]byte(text))
	}
	values, err := yamlMapping(unmarshal, "behaviour", YAMLKeys())
	if err != nil {
		return err
	}
	var parsed Behavior
	if name, ok := values[PresetKey]; ok {
		p, err := PresetNamed(fmt.Sprint(name))
		if err != nil {
			return err
		}
		parsed = p.Behavior
	}
	for _, a := range SettingOrder() {
		v, ok := values[string(a)]
		if !ok {
			continue
		}
		if err := parsed.Set(a, fmt.Sprint(v)); err != nil {
			return err
		}
	}
	if err := parsed.Validate(); err != nil {
		return err
	}
	*b = parsed
	return nil
}

// MarshalYAML gives the canonical text form.
func (b Behavior) MarshalYAML() (any, error) {
	text, err := b.MarshalText()
	return string(text), err
}

// yamlMapping reads a mapping and refuses keys other than the given ones.
func yamlMapping(unmarshal func(any) error, what string, keys []string) (map[string]any, error) {
	var values map[string]any
	if err := unmarshal(&values); err != nil {
		return nil, fmt.Errorf("a %s is a text or a mapping with the keys %s: %w", what, strings.Join(keys, ", "), err)
	}
	if len(values) == 0 {
		return nil, fmt.Errorf("empty %s: it takes the keys %s", what, strings.Join(keys, ", "))
	}
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if !slices.Contains(keys, key) {
			return nil, fmt.Errorf("unknown key %q in a %s%s", key, what, suggest(key, keys, "it takes "+strings.Join(keys, ", ")))
		}
	}
	return values, nil
}
