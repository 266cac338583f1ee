package scenarios

import (
	"slices"
	"strings"

	"p2pmodel/sim/document"
)

// maxRelays is how many relays a peer takes to choose from.
const maxRelays = 8

// RelayNames is what actions are about: "relay" where there is one, else that with
// the host on which it runs. There are none in a System.
func (sc *Scenario) RelayNames() []string {
	switch {
	case len(sc.Relays) > 0:
		var names []string
		for _, host := range sc.Relays {
			names = append(names, relayOn(host))
		}
		return names
	case sc.Relay != "":
		return []string{ServerRelay}
	}
	return nil
}

// relayOn is the name of one of several relays, as no host or program has it.
func relayOn(host string) string { return ServerRelay + " " + host }

// RelayHost is the host of the relay with such a name; "": there is none.
func (sc *Scenario) RelayHost(name string) string {
	host, ok := strings.CutPrefix(name, relayOn(""))
	switch {
	case ok && slices.Contains(sc.Relays, host):
		return host
	case name == ServerRelay && len(sc.Relays) == 0:
		return sc.Relay
	}
	return ""
}

// server takes which server an action is about: a word, or {relay: HOST} where there
// are several relays.
func (d *decoder) server(n *document.Node) string {
	if n.Kind() == document.Mapping {
		relay := n.Map("relay").Need("relay")
		if len(d.sc.Relays) == 0 {
			relay.Errorf("the scenario has no relays to choose from: say %s: %s", n.Name(), ServerRelay)
			return ""
		}
		return relayOn(d.word(relay, "relay", d.sc.Relays))
	}
	server := d.word(n, "server", []string{ServerRendezvous, ServerRelay})
	if server == ServerRelay && len(d.sc.Relays) > 0 {
		n.Errorf("there are several relays: say which one, as {relay: %s}", d.sc.Relay)
		return ""
	}
	return server
}

// decodeRelays takes the host of the relay, or those of several.
func (d *decoder) decodeRelays(m document.Map) {
	sc := d.sc
	apart := func(n *document.Node, host string) {
		if host != "" && host == sc.Rendezvous {
			n.Errorf("rendezvous and relay must run on separate hosts, so that either can be cut")
		}
	}
	sc.Relay = d.word(m.Get("relay"), "host", d.hosts)
	apart(m.Get("relay"), sc.Relay)
	list := m.Get("relays")
	if !list.Exists() {
		return
	}
	if m.Has("relay") {
		list.KeyErrorf("relay: and relays: name all of them in relays:")
		return
	}
	for _, n := range list.List() {
		host := d.word(n, "host", d.hosts)
		apart(n, host)
		if slices.Contains(sc.Relays, host) {
			n.Errorf("relay %s is named twice", host)
		}
		sc.Relays = append(sc.Relays, host)
	}
	if n := len(sc.Relays); n < 2 || n > maxRelays {
		list.Errorf("%d relays: from 2 to %d are several; one is relay: HOST", n, maxRelays)
		return
	}
	sc.Relay = sc.Relays[0]
}

// decodeTLS takes the port at which servers are reached over TLS.
func (d *decoder) decodeTLS(m document.Map) {
	n := m.Get("tls")
	if !n.Exists() {
		return
	}
	d.sc.TLS = n.Port()
	if m.Has("programs") || foreign(m) || !m.Has("rendezvous") {
		n.KeyErrorf("tls: goes with a rendezvous, a relay and peers of our own: programs are told by their own options how they reach each other")
	}
}

// OnPeer is what an action is about that starts a peer anew, as no server has it.
func OnPeer(name string) string { return "peer " + name }

// PeerOf is the peer that an action is about; false: it is about something else.
func (a Action) PeerOf() (name string, ok bool) {
	if a.Kind != ActRestart {
		return "", false
	}
	return strings.CutPrefix(a.Target, OnPeer(""))
}

// ServerText is how a file's actions write a server's name, or a peer's.
func ServerText(name string) string {
	if peer, ok := strings.CutPrefix(name, OnPeer("")); ok {
		return "{peer: " + peer + "}"
	}
	if host, several := strings.CutPrefix(name, relayOn("")); several {
		return "{relay: " + host + "}"
	}
	return name
}
