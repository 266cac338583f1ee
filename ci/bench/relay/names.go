package relay

// Names of systems.
const (
	Ours      = "p2pmodel"
	Kernel    = "p2pmodel, kernel"
	Coturn    = "coturn"
	PionTurn  = "pion/turn"
	PlainName = "forwarder plain"
	BatchName = "forwarder batched"
	GSOName   = "forwarder offloaded"
	OneName   = "forwarder offloaded by one socket"
	RulesName = "forwarder offloaded by one socket, its ports by nftables"
)
