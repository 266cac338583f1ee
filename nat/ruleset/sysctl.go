//go:build linux

package ruleset

// Sysctls are the settings that a router's namespace needs, by path below
// /proc/sys with slashes. Set them before the namespace's interfaces are made,
// so that these inherit them, or set the conf/default ones for each interface
// too.
func Sysctls() map[string]string {
	return map[string]string{
		"net/ipv4/ip_forward": "1",
		// Replies may come from where the route does not point, as with hairpin.
		"net/ipv4/conf/all/rp_filter":     "0",
		"net/ipv4/conf/default/rp_filter": "0",
		// Hairpinned packets have a source that is the router's own address.
		"net/ipv4/conf/all/accept_local":     "1",
		"net/ipv4/conf/default/accept_local": "1",
		// Hairpinned packets leave where they came from; a redirect would tell
		// hosts to go around the NAT.
		"net/ipv4/conf/all/send_redirects":     "0",
		"net/ipv4/conf/default/send_redirects": "0",
		// No error that the router makes is held back. Without a rate for each
		// destination (icmp_ratelimit) there still would be one for all.
		"net/ipv4/icmp_ratemask": "0",
	}
}
