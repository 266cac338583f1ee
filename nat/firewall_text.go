package nat

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// The keys of a firewall's text and YAML forms.
const (
	FirewallKeyInbound = "inbound"
	FirewallKeyUDP     = "udp"
)

// FirewallKeys gives the keys of a firewall's text and YAML forms.
func FirewallKeys() []string { return []string{FirewallKeyInbound, FirewallKeyUDP} }

// ParseFirewall reads the text form: `open`, `stateful` (replies alone may
// enter), or items separated by commas: `inbound=open|replies` and
// `udp=all|none|PORT+PORT…`, the destination ports to which UDP may leave. A
// word may stand before items, which then override it.
//
//	stateful
//	inbound=replies,udp=3478
//	stateful,udp=none
func ParseFirewall(text string) (Firewall, error) {
	var f Firewall
	if strings.TrimSpace(text) == "" {
		return f, errors.New("empty firewall: it takes open, stateful, or items as in inbound=replies,udp=3478")
	}
	seen := make(map[string]bool)
	for i, item := range strings.Split(text, ",") {
		key, value, found := strings.Cut(item, "=")
		key = strings.ToLower(strings.TrimSpace(key))
		switch {
		case !found && i == 0 && key == "open":
		case !found && i == 0 && key == "stateful":
			f.Inbound = InboundReplies
		case !found:
			return Firewall{}, fmt.Errorf("firewall %q: %q is not valid; it takes open or stateful first, then key=value with the keys %s",
				text, strings.TrimSpace(item), strings.Join(FirewallKeys(), ", "))
		case seen[key]:
			return Firewall{}, fmt.Errorf("firewall %q: %s is given twice", text, key)
		default:
			if err := f.Set(key, value); err != nil {
				return Firewall{}, fmt.Errorf("firewall %q: %w", text, err)
			}
			seen[key] = true
		}
	}
	return f, nil
}

// Set gives one key its value. The error names the key and its valid values.
func (f *Firewall) Set(key, value string) error {
	value = strings.ToLower(strings.TrimSpace(value))
	switch strings.ToLower(key) {
	case FirewallKeyInbound:
		return f.Inbound.UnmarshalText([]byte(value))
	case FirewallKeyUDP:
		switch value {
		case "all":
			f.OutboundUDP = nil
			return nil
		case "none":
			f.OutboundUDP = []uint16{}
			return nil
		}
		ports := []uint16{}
		for _, p := range strings.Split(value, "+") {
			n, err := strconv.ParseUint(strings.TrimSpace(p), 10, 16)
			if err != nil || n == 0 {
				return fmt.Errorf("%s: %q is not valid; it takes all, none, or ports joined by +, as in 3478+443", FirewallKeyUDP, value)
			}
			ports = append(ports, uint16(n))
		}
		slices.Sort(ports)
		f.OutboundUDP = slices.Compact(ports)
		return nil
	}
	return fmt.Errorf("unknown firewall key %q; did you mean %q? The keys are %s",
		key, nearest(key, FirewallKeys()), strings.Join(FirewallKeys(), ", "))
}

// AllowsUDP reports whether UDP to this destination port may leave.
func (f Firewall) AllowsUDP(port uint16) bool {
	return f.OutboundUDP == nil || slices.Contains(f.OutboundUDP, port)
}

// String gives the text form that ParseFirewall reads back.
func (f Firewall) String() string {
	text := FirewallKeyInbound + "=" + f.Inbound.String()
	if f.OutboundUDP == nil {
		return text
	}
	ports := "none"
	if len(f.OutboundUDP) > 0 {
		words := make([]string, len(f.OutboundUDP))
		for i, p := range f.OutboundUDP {
			words[i] = strconv.Itoa(int(p))
		}
		ports = strings.Join(words, "+")
	}
	return text + "," + FirewallKeyUDP + "=" + ports
}

// Validate checks the policy and the ports. The error names the key and the
// valid values.
func (f Firewall) Validate() error {
	var errs []error
	if int(f.Inbound) >= len(inboundNames) {
		errs = append(errs, fmt.Errorf("%s: %q is not valid; it takes %s", FirewallKeyInbound, f.Inbound, strings.Join(inboundNames[:], ", ")))
	}
	ascending := slices.IsSorted(f.OutboundUDP) && len(slices.Compact(slices.Clone(f.OutboundUDP))) == len(f.OutboundUDP)
	if !ascending || slices.Contains(f.OutboundUDP, 0) {
		errs = append(errs, fmt.Errorf("%s: %v is not valid; it takes ports from 1 to 65535, ascending, each once", FirewallKeyUDP, f.OutboundUDP))
	}
	return errors.Join(errs...)
}

// MarshalText gives the text form; it fails for invalid firewalls.
func (f Firewall) MarshalText() ([]byte, error) {
	if err := f.Validate(); err != nil {
		return nil, err
	}
	return []byte(f.String()), nil
}

// UnmarshalText reads the text form.
func (f *Firewall) UnmarshalText(text []byte) error {
	parsed, err := ParseFirewall(string(text))
	if err == nil {
		*f = parsed
	}
	return err
}

// UnmarshalYAML reads a firewall from a scalar, the text form, or from a
// mapping with FirewallKeys, where `udp` may be a list of ports.
func (f *Firewall) UnmarshalYAML(unmarshal func(any) error) error {
	var text string
	if unmarshal(&text) == nil {
		return f.UnmarshalText([]byte(text))
	}
	values, err := yamlMapping(unmarshal, "firewall", FirewallKeys())
	if err != nil {
		return err
	}
	var parsed Firewall
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
				value = "none"
			}
		}
		if err := parsed.Set(key, value); err != nil {
			return err
		}
	}
	*f = parsed
	return nil
}

// MarshalYAML gives the text form.
func (f Firewall) MarshalYAML() (any, error) {
	text, err := f.MarshalText()
	return string(text), err
}
