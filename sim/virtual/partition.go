package virtual

// partition is what parts groups of hosts.
type partition struct{}

// Partition implements sim.Network.
func (n *Network) Partition([][]string) error { return errLater }

// Heal implements sim.Network.
func (n *Network) Heal() error { return nil }

// Partitioned implements sim.Network.
func (n *Network) Partitioned() (uint64, error) { return 0, nil }
