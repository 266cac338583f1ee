package relay

import (
	"net/netip"
	"time"

	pion "github.com/pion/stun/v3"

	"p2pmodel/core/stun"
)

// createPermission handles CreatePermission (RFC 8656 section 10.2): all of its
// peers are permitted or none.
func (s *Server) createPermission(now time.Time, r *request) {
	a, ok := s.owned(now, r)
	if !ok {
		return
	}
	var peers []netip.AddrPort
	for _, raw := range r.attributes {
		if raw.Type != pion.AttrXORPeerAddress {
			continue
		}
		peer, ok := parseXORAddress(r.id, raw.Value)
		if !ok {
			s.refuse(now, r, pion.CodeBadRequest)
			return
		}
		if code := s.acceptable(a, peer); code != 0 {
			s.refuse(now, r, code)
			return
		}
		peers = append(peers, peer)
	}
	if len(peers) == 0 {
		s.refuse(now, r, pion.CodeBadRequest)
		return
	}
	if !s.roomFor(now, a, peers) {
		s.refuse(now, r, pion.CodeInsufficientCapacity)
		return
	}
	for _, peer := range peers {
		a.permit(now, peer.Addr())
	}
	s.expect(now.Add(PermissionLifetime))
	s.succeed(now, r, func(*stun.Writer) {})
}

// roomFor reports whether the peers' addresses fit among the allocation's
// permissions, duplicates counted once and expired ones not at all.
func (s *Server) roomFor(now time.Time, a *allocation, peers []netip.AddrPort) bool {
	if len(a.permissions)+len(peers) <= maxPermissions {
		return true
	}
	a.sweep(now, s.unload)
	fresh := make(map[host]bool)
	for _, peer := range peers {
		if _, has := a.permissions[hostOf(peer.Addr())]; !has {
			fresh[hostOf(peer.Addr())] = true
		}
	}
	return len(a.permissions)+len(fresh) <= maxPermissions
}

// acceptable is the code to refuse a peer with, or 0: first whether it may be
// had at all, so that the forms that hide an IPv4 address in IPv6 are forbidden
// and not merely of the wrong family.
func (s *Server) acceptable(a *allocation, peer netip.AddrPort) pion.ErrorCode {
	switch {
	case !s.policy.permits(a.to(peer.Addr()).addr, peer):
		return pion.CodeForbidden
	case !a.to(peer.Addr()).addr.IsValid():
		return pion.CodePeerAddrFamilyMismatch
	}
	return 0
}

// channelBind handles ChannelBind (RFC 8656 section 12.2).
func (s *Server) channelBind(now time.Time, r *request) {
	a, ok := s.owned(now, r)
	if !ok {
		return
	}
	number, ok := channelNumberOf(r.attributes)
	raw, present := r.attributes.Get(pion.AttrXORPeerAddress)
	highest := uint16(maxChannel)
	if s.cfg.StrictChannels {
		highest = maxChannelStrict
	}
	if !ok || !present || number < minChannel || number > highest {
		s.refuse(now, r, pion.CodeBadRequest)
		return
	}
	peer, ok := parseXORAddress(r.id, raw.Value)
	if !ok || peer.Port() == 0 {
		s.refuse(now, r, pion.CodeBadRequest)
		return
	}
	if code := s.acceptable(a, peer); code != 0 {
		s.refuse(now, r, code)
		return
	}
	if !a.bindable(now, number, peer) {
		s.refuse(now, r, pion.CodeBadRequest)
		return
	}
	full := func() bool { return a.byNumber[number] == nil && len(a.byNumber) >= maxChannels }
	if full() {
		a.sweep(now, s.unload)
	}
	if full() || !s.roomFor(now, a, []netip.AddrPort{peer}) {
		s.refuse(now, r, pion.CodeInsufficientCapacity)
		return
	}
	s.unload(a, a.byNumber[number])
	s.unload(a, a.byPeer[endpointOf(peer)])
	a.bind(now, number, peer)
	s.offload(now, a, a.byNumber[number])
	s.expect(now.Add(PermissionLifetime))
	s.succeed(now, r, func(*stun.Writer) {})
}
