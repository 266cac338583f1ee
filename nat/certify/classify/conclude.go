package classify

import (
	"strings"

	"p2pmodel/nat"
	"p2pmodel/nat/certify/analysis"
)

// conclude puts the findings into the text form, and gives the whole a name.
func (m *Machine) conclude() {
	r := &m.result
	var items []string
	for _, axis := range nat.Axes() {
		if v := r.Measured(axis); v != "" && v != analysis.Untranslated {
			items = append(items, string(axis)+"="+v)
		}
	}
	r.Behavior = strings.Join(items, ",")
	r.Classic = classic(r.Measured(nat.AxisMapping), r.Measured(nat.AxisFiltering), m.untranslated())
	r.Meddling = m.rewrote
	m.done = true
}

// classic is the name in the terms of RFC 3489 section 5.
func classic(mapping, filtering string, untranslated bool) string {
	if filtering == "" || mapping == "" {
		if untranslated {
			return "no NAT; what is filtered is not known"
		}
		return "a NAT; of which kind is not known"
	}
	if untranslated {
		if filtering == "EIF" {
			return "open: no NAT, no filter"
		}
		return "symmetric UDP firewall: no NAT, a filter"
	}
	switch mapping + "/" + filtering {
	case "EIM/EIF":
		return "full cone"
	case "EIM/ADF":
		return "restricted cone"
	case "EIM/APDF":
		return "port-restricted cone"
	case "APDM/APDF":
		return "symmetric"
	}
	if mapping == "ADM" || mapping == "APDM" {
		return "none of RFC 3489's four; symmetric is the nearest"
	}
	return "none of RFC 3489's four"
}
