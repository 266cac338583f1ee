package nat

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The keys of a firewall's text and YAML forms. The YAML form may have PresetKey
// besides.
const (
	FirewallKeyInbound   = "inbound"
	FirewallKeyUDP       = "udp"
	FirewallKeyTCP       = "tcp"
	FirewallKeyOther     = "other"
	FirewallKeyReject    = "reject"
	FirewallKeyTCPReject = "tcp-reject"
	FirewallKeyPortal    = "portal"
)

// The words of a firewall's values.
const (
	firewallAll   = "all"
	firewallNone  = "none"
	firewallICMP  = "icmp"
	firewallReset = "reset"
	firewallOn    = "on"
	firewallOff   = "off"
)

// FirewallKeys gives the keys of a firewall's text and YAML forms.
func FirewallKeys() []string {
	return []string{
		FirewallKeyInbound, FirewallKeyUDP, FirewallKeyTCP, FirewallKeyOther,
		FirewallKeyReject, FirewallKeyTCPReject, FirewallKeyPortal,
	}
}

// FirewallValues gives the words that a key takes, besides ports and durations.
func FirewallValues(key string) []string {
	switch key {
	case FirewallKeyInbound:
		return inboundNames[:]
	case FirewallKeyUDP, FirewallKeyTCP, FirewallKeyOther:
		return []string{firewallAll, firewallNone}
	case FirewallKeyReject:
		return rejectionNames[:]
	case FirewallKeyTCPReject:
		return []string{firewallICMP, firewallReset}
	case FirewallKeyPortal:
		return []string{firewallOff, firewallOn}
	}
	return nil
}

// FirewallPresetNamed finds a preset by its name, in any case. The error names the
// nearest.
func FirewallPresetNamed(name string) (FirewallPreset, error) {
	var names []string
	for _, p := range FirewallPresets() {
		if strings.EqualFold(p.Name, strings.TrimSpace(name)) {
			return p, nil
		}
		names = append(names, p.Name)
	}
	return FirewallPreset{}, fmt.Errorf("unknown firewall %q%s", strings.TrimSpace(name), suggest(strings.TrimSpace(name), names,
		fmt.Sprintf("it takes %s, or key=value with the keys %s", strings.Join(names, ", "), strings.Join(FirewallKeys(), ", "))))
}

// ParseFirewall reads the text form: the name of a preset, or items separated by
// commas, or the name and items, which then override it.
//
//	inbound=open|replies        what may enter
//	udp=all|none|PORT+PORT…     the destination ports to which UDP may leave
//	tcp=all|none|PORT+PORT…     those to which TCP may leave
//	other=all|none              whether what is neither may leave
//	reject=none|out|in|both     who is told of what is dropped
//	tcp-reject=icmp|reset       how senders of TCP inside are told
//	portal=off|on|DURATION      a captive portal; how long a login lasts
//
// As in
//
//	stateful
//	inbound=replies,udp=3478
//	tcp-443-only,reject=out
func ParseFirewall(text string) (Firewall, error) {
	var f Firewall
	if strings.TrimSpace(text) == "" {
		return f, errors.New("empty firewall: it takes a name as stateful, or items as in inbound=replies,udp=3478")
	}
	seen := make(map[string]bool)
	for i, item := range strings.Split(text, ",") {
		key, value, found := strings.Cut(item, "=")
		key = strings.ToLower(strings.TrimSpace(key))
		switch {
		case !found && i == 0:
			p, err := FirewallPresetNamed(key)
			if err != nil {
				return Firewall{}, err
			}
			f = p.Firewall
		case !found:
			return Firewall{}, fmt.Errorf("firewall %q: %q is not valid: a name stands first, and then key=value with the keys %s",
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
	if err := f.Validate(); err != nil {
		return Firewall{}, fmt.Errorf("firewall %q: %w", text, err)
	}
	return f, nil
}

// Set gives one key its value. The error names the key and its valid values.
func (f *Firewall) Set(key, value string) error {
	value = strings.ToLower(strings.TrimSpace(value))
	bad := func(takes string) error { return fmt.Errorf("%s: %q is not valid; it takes %s", key, value, takes) }
	of := func(target *bool) error {
		words := FirewallValues(key)
		i := slices.Index(words, value)
		if i < 0 {
			return bad(strings.Join(words, ", "))
		}
		*target = i == 1
		return nil
	}
	switch key = strings.ToLower(key); key {
	case FirewallKeyInbound:
		return f.Inbound.UnmarshalText([]byte(value))
	case FirewallKeyUDP, FirewallKeyTCP:
		ports, err := parsePortList(value)
		if err != nil {
			return bad("all, none, or ports joined by +, as in 3478+443")
		}
		if key == FirewallKeyUDP {
			f.OutboundUDP = ports
		} else {
			f.OutboundTCP = ports
		}
		return nil
	case FirewallKeyOther:
		return of(&f.KeepOther)
	case FirewallKeyReject:
		return f.Reject.UnmarshalText([]byte(value))
	case FirewallKeyTCPReject:
		return of(&f.ResetTCP)
	case FirewallKeyPortal:
		switch value {
		case "true": // YAML's words
			value = firewallOn
		case "false":
			value = firewallOff
		}
		if of(&f.Portal.On) == nil {
			f.Portal.Session = 0
			return nil
		}
		d, err := time.ParseDuration(value)
		if err != nil || !validSession(d) {
			return bad(fmt.Sprintf("off, on, or how long a login lasts, from %v to %v, as 30m", MinTimeout, MaxSession))
		}
		f.Portal = Portal{On: true, Session: d}
		return nil
	}
	return fmt.Errorf("unknown firewall key %q%s", key, suggest(key, FirewallKeys(), "the keys are "+strings.Join(FirewallKeys(), ", ")))
}

// parsePortList reads the value of udp and tcp.
func parsePortList(text string) ([]uint16, error) {
	switch text {
	case firewallAll:
		return nil, nil
	case firewallNone:
		return []uint16{}, nil
	}
	var ports []uint16
	for _, p := range strings.Split(text, "+") {
		n, err := strconv.ParseUint(strings.TrimSpace(p), 10, 16)
		if err != nil || n == 0 {
			return nil, fmt.Errorf("%q is no port", p)
		}
		ports = append(ports, uint16(n))
	}
	slices.Sort(ports)
	return slices.Compact(ports), nil
}

func formatPortList(ports []uint16) string {
	switch {
	case ports == nil:
		return firewallAll
	case len(ports) == 0:
		return firewallNone
	}
	words := make([]string, len(ports))
	for i, p := range ports {
		words[i] = strconv.Itoa(int(p))
	}
	return strings.Join(words, "+")
}

// Get gives the value of a key, as Set takes it.
func (f Firewall) Get(key string) string {
	word := func(is bool) string {
		if is {
			return FirewallValues(key)[1]
		}
		return FirewallValues(key)[0]
	}
	switch key {
	case FirewallKeyInbound:
		return f.Inbound.String()
	case FirewallKeyUDP:
		return formatPortList(f.OutboundUDP)
	case FirewallKeyTCP:
		return formatPortList(f.OutboundTCP)
	case FirewallKeyOther:
		return word(f.KeepOther)
	case FirewallKeyReject:
		return f.Reject.String()
	case FirewallKeyTCPReject:
		return word(f.ResetTCP)
	case FirewallKeyPortal:
		if f.Portal.Session != 0 {
			return formatDuration(f.Portal.Session)
		}
		return word(f.Portal.On)
	}
	return ""
}

// Items gives the keys whose values say something, inbound always, in the order of
// FirewallKeys.
func (f Firewall) Items() []string {
	var keys []string
	for _, key := range FirewallKeys() {
		if key == FirewallKeyInbound || f.Get(key) != (Firewall{}).Get(key) {
			keys = append(keys, key)
		}
	}
	return keys
}

// String gives the text form that ParseFirewall reads back.
func (f Firewall) String() string {
	var items []string
	for _, key := range f.Items() {
		items = append(items, key+"="+f.Get(key))
	}
	return strings.Join(items, ",")
}

// Validate checks the policy and the ports. The error has a line for each key,
// with its valid values.
func (f Firewall) Validate() error {
	var errs []error
	bad := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", key, fmt.Sprintf(format, args...)))
	}
	if int(f.Inbound) >= len(inboundNames) {
		bad(FirewallKeyInbound, "%q is not valid; it takes %s", f.Inbound, strings.Join(inboundNames[:], ", "))
	}
	checkPorts := func(key string, ports []uint16) {
		ascending := slices.IsSorted(ports) && len(slices.Compact(slices.Clone(ports))) == len(ports)
		if !ascending || slices.Contains(ports, 0) {
			bad(key, "%v is not valid; it takes ports from 1 to 65535, ascending, each once", ports)
		}
	}
	checkPorts(FirewallKeyUDP, f.OutboundUDP)
	checkPorts(FirewallKeyTCP, f.OutboundTCP)
	if int(f.Reject) >= len(rejectionNames) {
		bad(FirewallKeyReject, "%q is not valid; it takes %s", f.Reject, strings.Join(rejectionNames[:], ", "))
	}
	if f.ResetTCP && !f.Reject.Leaving() {
		bad(FirewallKeyTCPReject, "%s goes with %s=%s or %s=%s only: else nobody inside is told", firewallReset,
			FirewallKeyReject, RejectLeaving, FirewallKeyReject, RejectBoth)
	}
	if s := f.Portal.Session; s != 0 && (!f.Portal.On || !validSession(s)) {
		bad(FirewallKeyPortal, "a login lasts from %v to %v, and there has to be a portal; this one is %v", MinTimeout, MaxSession, s)
	}
	return errors.Join(errs...)
}

func validSession(d time.Duration) bool { return d >= MinTimeout && d <= MaxSession }

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
