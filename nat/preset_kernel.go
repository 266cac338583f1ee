package nat

import "time"

const (
	linuxSource = "measured on Linux 6.18; nf_nat_core.c, nf_conntrack_proto_udp.c and Documentation/networking/nf_conntrack-sysctl.rst of Linux"
	linuxNote   = "The 120 s are for flows that were answered and are older than 2 s, by their next packet; that age is a constant of the kernel, which no scale shortens. "
)

// ofKind is the behaviour of a kind, with conntrack's times.
func ofKind(kind Kind, early EarlyInbound, timeout, stream time.Duration) Behavior {
	b, _ := kind.Implied()
	b.Early, b.Timeout, b.Stream = early, timeout, stream
	return b
}

// linuxPresets are Linux's own NAT.
var linuxPresets = []Preset{
	{
		Name: "linux", Aliases: []string{"openwrt", "docker"},
		Title:    "Linux with masquerade: conntrack, and input drops what comes from outside",
		Behavior: ofKind(KindMasquerade, EarlyDrop, ConntrackTimeout, ConntrackStream),
		Evidence: []Evidence{EvidenceMeasured, EvidenceRead}, Source: linuxSource,
		Note: "Endpoint-independent until hosts contend: two that use one source port share its external port while their destinations differ, " +
			"and where they clash the later flow gets another one. " + linuxNote +
			"OpenWrt and hosts of Docker differ from each other in their firewalls only.",
	},
	{
		Name:     "linux-early-accept",
		Title:    "Linux with masquerade and an open input: a peer that comes first spoils our port towards it",
		Behavior: ofKind(KindMasquerade, EarlyAccept, ConntrackTimeout, ConntrackStream),
		Evidence: []Evidence{EvidenceMeasured, EvidenceRead}, Source: linuxSource,
		Note: "The peer's early packet becomes a flow of the router itself, and our own flow to that peer clashes with it: 40000 became 28521. " +
			"What is expected of it is the worse order; peers that begin at once are direct where the way between them is longer than their difference. " + linuxNote,
	},
	{
		Name:     "linux-random",
		Title:    "Linux with masquerade random: a port for each flow",
		Behavior: ofKind(KindMasqueradeRandom, EarlyDrop, ConntrackTimeout, ConntrackStream),
		Evidence: []Evidence{EvidenceMeasured, EvidenceRead}, Source: linuxSource,
		Note: "Kernels before 5.0 chose ports by a hash; since then it is what fully-random is. " + linuxNote,
	},
	{
		Name:     "linux-fully-random",
		Title:    "Linux with masquerade fully-random: a port for each flow",
		Behavior: ofKind(KindMasqueradeFullyRandom, EarlyDrop, ConntrackTimeout, ConntrackStream),
		Evidence: []Evidence{EvidenceMeasured, EvidenceRead}, Source: linuxSource,
		Note: linuxNote,
	},
	{
		Name: "mikrotik", Aliases: []string{"routeros"},
		Title:    "MikroTik RouterOS with masquerade: as Linux, with times of its own",
		Behavior: mikrotik(),
		Evidence: []Evidence{EvidenceRead}, Source: "MikroTik's manual, IP/Firewall/Connection tracking: udp-timeout 10 s, udp-stream-timeout 3 min, icmp-timeout 10 s, tcp-established-timeout 1 d",
		Note: "Newer versions have 30 s one-way: mikrotik,timeout=30s. That the rest is as in Linux is taken from RouterOS being one (D). 10 s break even usual keepalives of 15 to 25 s.",
	},
}

func mikrotik() Behavior {
	b := ofKind(KindMasquerade, EarlyDrop, 10*time.Second, 180*time.Second)
	b.TimeoutICMP, b.TimeoutTCP = 10*time.Second, 24*time.Hour
	return b
}

// gatewayPresets are routers for homes whose makers publish nothing, and Windows.
var gatewayPresets = []Preset{
	{
		Name: "fritzbox", Aliases: []string{"unifi", "tp-link", "asus"},
		Title:    "a router for homes",
		Behavior: Behavior{Mapping: EndpointIndependent, Filtering: AddressAndPortDependent, Ports: Preserve},
		Evidence: []Evidence{EvidenceSecondary}, Source: "reports of users and of NAT tests; the makers publish nothing",
		Note: "The idle timeout is not known, so none is named. Many of these routers are Linux: take linux where contention for ports matters. " +
			"Whether they hairpin is not known either; 24 % of 335 devices did (Ford, Srisuresh, Kegel 2005, M).",
	},
	{
		Name: "windows-netnat", Aliases: []string{"winnat"},
		Title: "Windows' NetNat (Hyper-V, containers)",
		Behavior: Behavior{
			Mapping: EndpointIndependent, Filtering: AddressDependent, Ports: Preserve, Refresh: RefreshOutbound,
			Timeout: 120 * time.Second, TimeoutTCP: 1800 * time.Second, TimeoutICMP: 30 * time.Second,
		},
		Evidence: []Evidence{EvidenceRead}, Source: "Microsoft, NetNat: what Get-NetNat shows of a new one (UdpFilteringBehavior AddressDependentFiltering, UdpIdleSessionTimeout 120, UdpInboundRefresh False)",
		Note: "How it chooses ports is not documented; preserve is chosen.",
	},
}
