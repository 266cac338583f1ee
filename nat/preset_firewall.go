package nat

import "time"

// session is the behaviour of a firewall that knows sessions by all five fields,
// draws ports, and restarts a session's time at packets of both directions.
func session(timeout time.Duration) Behavior {
	return Behavior{
		Mapping: AddressAndPortDependent, Filtering: AddressAndPortDependent, Ports: Random,
		Refresh: RefreshBoth, Timeout: timeout,
	}
}

// persistent is a session firewall that keeps an endpoint's port for all remotes.
func persistent(filtering Dependence, timeout time.Duration) Behavior {
	b := session(timeout)
	b.Mapping, b.Filtering = EndpointIndependent, filtering
	return b
}

const (
	edmNote     = "The sources say endpoint-dependent mapping without saying on what; address and port is taken. "
	sessionNote = "That packets of both directions keep a session is taken from its being one (D). "
	srxSource   = "Juniper, Junos OS NAT User Guide, persistent NAT, as quoted; inactivity-timeout of applications, default 60 s"
)

// firewallPresets are products that translate as a part of their sessions.
var firewallPresets = []Preset{
	{
		Name: "pfsense", Aliases: []string{"freebsd-pf"},
		Title:    "pf of FreeBSD, as pfSense has it",
		Behavior: pf(),
		Evidence: []Evidence{EvidenceRead, EvidenceMemory}, Source: "pf.conf(5) and pf_lb.c of FreeBSD: states, and a port drawn for each; the times from memory: udp.first 60 s, udp.single 30 s, udp.multiple 60 s",
		Note: "A single packet out has 60 s, several without an answer have 30 s: the axes know one time before answers, and 30 s is taken. " +
			"static-port, which pfSense sets for IKE, would preserve ports. " + sessionNote,
	},
	{
		Name: "cisco-asa", Title: "Cisco ASA with dynamic PAT",
		Behavior: session(120 * time.Second),
		Evidence: []Evidence{EvidenceSecondary, EvidenceRead}, Source: "Cisco, ASA Series CLI Configuration Guide and Command Reference: timeout udp 0:02:00, timeout pat-xlate 0:00:30",
		Note: edmNote + "The port of an ended session stays reserved for 30 s more (pat-xlate), which no axis expresses. " +
			"The guide says of PAT pools without flat that the real source port is kept where it is free: cisco-asa,ports=preserve. " + sessionNote,
	},
	{
		Name: "juniper-srx", Title: "Juniper SRX with source NAT by interface",
		Behavior: session(60 * time.Second),
		Evidence: []Evidence{EvidenceSecondary}, Source: srxSource,
		Note: sessionNote + "persistent-nat changes mapping and filter: see the three others.",
	},
	{
		Name: "juniper-srx-any-remote-host", Title: "Juniper SRX with persistent-nat permit any-remote-host",
		Behavior: persistent(EndpointIndependent, 60*time.Second),
		Evidence: []Evidence{EvidenceSecondary}, Source: srxSource,
		Note: "The binding outlives its last session by an inactivity timeout of its own, which is left out.",
	},
	{
		Name: "juniper-srx-target-host", Title: "Juniper SRX with persistent-nat permit target-host",
		Behavior: persistent(AddressDependent, 60*time.Second),
		Evidence: []Evidence{EvidenceSecondary}, Source: srxSource,
		Note: "The binding outlives its last session by an inactivity timeout of its own, which is left out.",
	},
	{
		Name: "juniper-srx-target-host-port", Title: "Juniper SRX with persistent-nat permit target-host-port",
		Behavior: persistent(AddressAndPortDependent, 60*time.Second),
		Evidence: []Evidence{EvidenceSecondary}, Source: srxSource,
		Note: "The binding outlives its last session by an inactivity timeout of its own, which is left out.",
	},
	{
		Name: "fortigate", Title: "FortiGate with NAT by policy",
		Behavior: session(180 * time.Second),
		Evidence: []Evidence{EvidenceSecondary, EvidenceRead}, Source: "Fortinet, FortiOS CLI Reference and hyperscale guide: udp-idle 180 s, refresh-direction both; CGN session TTL 300 s",
		Note: edmNote + "How it chooses ports is not documented; random is chosen. As CGN it has 300 s: fortigate,timeout=300s.",
	},
	{
		Name: "fortigate-permit-any-host", Title: "FortiGate with permit-any-host: full cone for UDP",
		Behavior: persistent(EndpointIndependent, 180*time.Second),
		Evidence: []Evidence{EvidenceRead}, Source: "Fortinet, FortiOS Administration Guide, full cone NAT for fixed port range IP pools; eif-udp-ttl 180 s",
		Note: "The guide calls it full cone and endpoint-independent filtering; that mapping is endpoint-independent too is taken from the first word. " +
			"Ports come from a range for each user there; random ones of the whole range are chosen.",
	},
	{
		Name: "palo-alto", Title: "Palo Alto with dynamic IP and port",
		Behavior: paloAlto(),
		Evidence: []Evidence{EvidenceSecondary}, Source: "Palo Alto Networks, PAN-OS session timeouts (UDP 30 s), as quoted; reports of users that mappings in use change",
		Note: edmNote + "After how long a mapping in use changes is not known: 10 min are chosen. How it chooses ports is not documented; random is chosen. " + sessionNote,
	},
}

func pf() Behavior {
	b := session(30 * time.Second)
	b.Stream = 60 * time.Second
	return b
}

func paloAlto() Behavior {
	b := session(30 * time.Second)
	b.Rotate = 10 * time.Minute
	return b
}
