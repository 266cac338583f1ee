//go:build linux

package standing

import (
	"net/netip"
	"time"

	"p2pmodel/sim"
	"p2pmodel/sim/kernel"
)

// Description says what stands. Its JSON is what `natlab ps --json` prints of a
// lab.
type Description struct {
	Name    string   `json:"name"`
	Hosts   []Host   `json:"hosts"`
	Routers []Router `json:"routers"`
	// File is what the lab was read from, Seed what it was built with.
	File  string    `json:"file"`
	Seed  uint64    `json:"seed"`
	Since time.Time `json:"since"`
	// PID is the process that holds the lab: it goes with that.
	PID int `json:"pid"`
	// Programs is how many programs run that clients have started.
	Programs int `json:"programs"`
	// Fault is what went wrong with the laboratory itself: links that could not
	// keep up. Empty: nothing.
	Fault string `json:"fault,omitempty"`
}

// Host is a host as it is now.
type Host struct {
	Name string `json:"name"`
	// Addresses are those on the active uplink.
	Addresses []netip.Addr `json:"addresses"`
	// Behind is the router that it stands behind, or sim.Internet.
	Behind string `json:"behind"`
	// Uplink is the active one of several.
	Uplink string `json:"uplink,omitempty"`
}

// Router is a router as it is now.
type Router struct {
	Name string `json:"name"`
	// Addresses are the external ones.
	Addresses []netip.Addr `json:"addresses"`
	Behind    string       `json:"behind"`
	// NAT is its behaviour in the canonical form; "": it does not translate.
	NAT string `json:"nat,omitempty"`
}

// describe looks at a network.
func describe(n *kernel.Network) (d Description, err error) {
	d = Description{PID: holderPID(), Hosts: []Host{}, Routers: []Router{}}
	for _, h := range n.Lab().Hosts {
		running, err := n.Host(h.Name)
		if err != nil {
			return d, err
		}
		uplink, _ := h.Uplink(running.Active())
		host := Host{Name: h.Name, Addresses: n.Plan().Addresses(h.Name, uplink.Name), Behind: front(uplink.Behind)}
		if len(h.Uplinks) > 1 {
			host.Uplink = uplink.Name
		}
		d.Hosts = append(d.Hosts, host)
	}
	for _, r := range n.Lab().Routers {
		running, err := n.Router(r.Name)
		if err != nil {
			return d, err
		}
		router := Router{Name: r.Name, Addresses: running.External(), Behind: front(r.Behind)}
		if b, ok := running.Behavior(); ok {
			router.NAT = b.String()
		}
		d.Routers = append(d.Routers, router)
	}
	return d, nil
}

func front(behind string) string {
	if behind == "" {
		return sim.Internet
	}
	return behind
}

// HostNames gives the names of the hosts.
func (d Description) HostNames() []string {
	names := make([]string, len(d.Hosts))
	for i, h := range d.Hosts {
		names[i] = h.Name
	}
	return names
}

// RouterNames gives the names of the routers.
func (d Description) RouterNames() []string {
	names := make([]string, len(d.Routers))
	for i, r := range d.Routers {
		names[i] = r.Name
	}
	return names
}
