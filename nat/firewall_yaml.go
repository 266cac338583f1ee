package nat

import (
	"fmt"
	"strings"
)

// FirewallYAMLKeys gives the keys of a firewall's YAML mapping: PresetKey, which
// names a preset that the others override, and FirewallKeys.
func FirewallYAMLKeys() []string { return append([]string{PresetKey}, FirewallKeys()...) }

// UnmarshalYAML reads a firewall from a scalar, the text form, or from a
// mapping with FirewallYAMLKeys, where `udp` and `tcp` may be lists of ports.
func (f *Firewall) UnmarshalYAML(unmarshal func(any) error) error {
	var text string
	if unmarshal(&text) == nil {
		return f.UnmarshalText([]byte(text))
	}
	values, err := yamlMapping(unmarshal, "firewall", FirewallYAMLKeys())
	if err != nil {
		return err
	}
	var parsed Firewall
	if name, ok := values[PresetKey]; ok {
		p, err := FirewallPresetNamed(fmt.Sprint(name))
		if err != nil {
			return err
		}
		parsed = p.Firewall
	}
	for _, key := range FirewallKeys() {
		v, ok := values[key]
		if !ok {
			continue
		}
		value := fmt.Sprint(v)
		if list, isList := v.([]any); isList {
			words := make([]string, len(list))
			for i, e := range list {
				words[i] = fmt.Sprint(e)
			}
			if value = strings.Join(words, "+"); len(list) == 0 {
				value = firewallNone
			}
		}
		if err := parsed.Set(key, value); err != nil {
			return err
		}
	}
	if err := parsed.Validate(); err != nil {
		return err
	}
	*f = parsed
	return nil
}

// MarshalYAML gives the text form.
func (f Firewall) MarshalYAML() (any, error) {
	text, err := f.MarshalText()
	return string(text), err
}
