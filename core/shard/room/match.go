package room

import (
	"bytes"
	"slices"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/time/rate"

	"p2pmodel/core/identity"
	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/rpc"
)

// Why matches end.
const (
	EndFinished  = "all players have finished"
	EndTime      = "its time is over"
	EndAbandoned = "all players have left"
)

// match is what is known of the room's match; the zero value: none yet.
type match struct {
	started, ended time.Time
	reason         string
	parts          []*part // who plays or has played, in the order in which they came
	links          map[pair]*link
	moves          uint32
	// tick is what the clock had when the room was taken over: another machine's
	// clock may be behind, but ticks do not run backwards.
	tick uint64
}

// part is one player's part in a match.
type part struct {
	player       string
	joined, left time.Time // left: zero while a member
	finished     bool
	result       []byte
	reconnects   uint32
	// peers is the pace at which the player may play by another peer; nil: has
	// asked for no ticket.
	peers *rate.Limiter
}

// A player may play by so many peers, and then by another one so often. The tickets
// of former ones are good until they expire: a player who drew more could fill the
// mesh with strangers.
const (
	peerBurst = 4
	peerEvery = 30 * time.Second
)

// mayChangePeer reports whether the player may play by another peer now.
func (p *part) mayChangePeer(now time.Time) bool {
	if p.peers == nil {
		p.peers = rate.NewLimiter(rate.Every(peerEvery), peerBurst)
	}
	return p.peers.AllowN(now, 1)
}

func (m *match) deadline(s *agentv1.RoomSettings) time.Time {
	return m.started.Add(time.Duration(s.MatchSeconds) * time.Second)
}

// enter gives a member a part, which is the former one of a player who comes
// again.
func (m *match) enter(now time.Time, who *member) {
	for _, p := range m.parts {
		if p.player == who.player {
			p.left = time.Time{}
			p.reconnects++
			who.part = p
			return
		}
	}
	who.part = &part{player: who.player, joined: now}
	m.parts = append(m.parts, who.part)
}

// leave ends a member's part. The parts of those who left first are forgotten
// when there are too many.
func (m *match) leave(now time.Time, who *member, life time.Duration) {
	who.part.left = now
	for k, l := range m.links {
		if k.has(who.player) {
			l.freeze(now, life)
		}
	}
	departed, first := 0, -1
	for i, p := range m.parts {
		if p.left.IsZero() {
			continue
		}
		departed++
		if first < 0 || p.left.Before(m.parts[first].left) {
			first = i
		}
	}
	if departed > maxDeparted {
		gone := m.parts[first].player
		m.parts = slices.Delete(m.parts, first, first+1)
		for k := range m.links {
			if k.has(gone) {
				delete(m.links, k)
			}
		}
	}
}

// mayStart: all are ready and here, and they are enough.
func (r *Room) mayStart() bool {
	return !r.party() && len(r.members) >= int(r.settings.MinPlayers) &&
		!slices.ContainsFunc(r.members, func(m *member) bool { return !m.ready || !m.online })
}

func (r *Room) start(now time.Time, matched bool) {
	r.state = agentv1.RoomState_ROOM_STATE_PLAYING
	r.match.started = now
	r.match.links = map[pair]*link{}
	for _, m := range r.members {
		r.match.enter(now, m)
	}
	r.changedRecord()
	r.roster.wanted = false // what follows has the room
	if matched {
		r.tell(&agentv1.Event{Kind: &agentv1.Event_Matched{Matched: &agentv1.Matched{Room: r.View()}}})
	}
	r.tell(&agentv1.Event{Kind: &agentv1.Event_MatchStarted{MatchStarted: &agentv1.MatchStarted{Room: r.View()}}})
}

// allFinished: somebody has finished, and nobody who is online still plays.
func (r *Room) allFinished() bool {
	some := slices.ContainsFunc(r.members, func(m *member) bool { return m.online })
	return some && !slices.ContainsFunc(r.members, func(m *member) bool { return m.online && !m.part.finished })
}

func (r *Room) end(now time.Time, reason string) {
	for _, l := range r.match.links {
		l.freeze(now, r.times.Report)
	}
	r.match.tick = r.Tick(now)
	r.match.ended, r.match.reason = now, reason
	r.state = agentv1.RoomState_ROOM_STATE_ENDED
	r.changedRecord()
	r.roster.wanted, r.mesh.wanted = false, false
	m := r.Match(now)
	r.effects = append(r.effects, Ended{m})
	r.tell(&agentv1.Event{Kind: &agentv1.Event_MatchEnded{MatchEnded: &agentv1.MatchEnded{Room: r.id, Match: fit(m, maxMatchEvent)}}})
}

// Tick is the match's clock: ticks since its start.
func (r *Room) Tick(now time.Time) uint64 {
	if r.match.started.IsZero() || !r.match.ended.IsZero() {
		return r.match.tick
	}
	return max(r.match.tick, uint64(max(now.Sub(r.match.started), 0)*TickRate/time.Second))
}

// mustPlay refuses what is done in matches only.
func (r *Room) mustPlay() error {
	switch {
	case r.playing():
		return nil
	case r.party():
		return rpc.Errorf(connect.CodeFailedPrecondition, "the room %s is a party, which has no match", r.id)
	case r.state == agentv1.RoomState_ROOM_STATE_ENDED:
		return rpc.Errorf(connect.CodeFailedPrecondition, "the match of the room %s is over", r.id)
	}
	return rpc.Errorf(connect.CodeFailedPrecondition, "the match of the room %s has not begun", r.id)
}

// Ticket notes by which peer the caller plays, and gives all peers of the mesh.
// A peer that replaces a former one of the player starts without connections.
func (r *Room) Ticket(now time.Time, c Caller, peer identity.ID) ([]*agentv1.Peer, error) {
	m, err := r.caller(now, c)
	if err != nil {
		return nil, err
	}
	defer r.settle(now)
	if err := r.mustPlay(); err != nil {
		return nil, err
	}
	if m.peer == peer {
		return r.Peers(), nil
	}
	for _, o := range r.members {
		if o.peer == peer {
			return nil, rpc.Errorf(connect.CodeInvalidArgument, "peer_id: is another member's")
		}
	}
	if !m.part.mayChangePeer(now) {
		return nil, &rpc.Error{Code: connect.CodeResourceExhausted, Message: "you have played by many peers lately; use the same one, or wait half a minute", Retry: peerEvery}
	}
	m.peer = peer
	for _, o := range r.members {
		if o != m && !o.peer.IsZero() {
			r.match.link(now, m.player, o.player).restart(now)
		}
	}
	r.mesh.wanted = true
	r.changedSilently()
	return r.Peers(), nil
}

// peers are those of members that have asked for tickets.
// Peers are who should be in the mesh.
func (r *Room) Peers() (peers []*agentv1.Peer) {
	for _, m := range r.members {
		if !m.peer.IsZero() {
			peers = append(peers, &agentv1.Peer{Player: m.player, PeerId: bytes.Clone(m.peer[:])})
		}
	}
	return peers
}

// Report takes the caller's word on its connections, which was checked. What it
// says of players who are not here (any more) is passed over.
func (r *Room) Report(now time.Time, c Caller, connections []*agentv1.Connection) error {
	m, err := r.caller(now, c)
	if err != nil {
		return err
	}
	defer r.settle(now)
	if err := r.mustPlay(); err != nil {
		return err
	}
	for _, c := range connections {
		if o := r.byPlayer(c.Player); o != nil && o != m {
			r.match.link(now, m.player, o.player).report(now, r.times.Report, pairOf(m.player, o.player).side(m.player), c)
		}
	}
	return nil
}

// Finish takes the caller's account of the result. A later one replaces it.
func (r *Room) Finish(now time.Time, c Caller, result []byte) error {
	m, err := r.caller(now, c)
	if err != nil {
		return err
	}
	defer r.settle(now)
	if r.state == agentv1.RoomState_ROOM_STATE_ENDED && m.part != nil && m.part.finished && bytes.Equal(m.part.result, result) {
		return nil // the answer to the first one got lost
	}
	if err := r.mustPlay(); err != nil {
		return err
	}
	if m.part.finished && bytes.Equal(m.part.result, result) {
		return nil
	}
	m.part.finished, m.part.result = true, bytes.Clone(result)
	r.changedSilently()
	return nil
}

// Match is the record of the match; nil before its start.
func (r *Room) Match(now time.Time) *agentv1.Match {
	if r.match.started.IsZero() {
		return nil
	}
	m := &agentv1.Match{
		Room: r.id, Settings: r.settings, StartedMs: r.match.started.UnixMilli(), EndedMs: millis(r.match.ended), EndReason: r.match.reason,
		Agreed: r.match.agreed(), Moves: r.match.moves, Tick: r.Tick(now), Links: r.match.account(now, r.times.Report),
	}
	for _, p := range r.match.parts {
		m.Players = append(m.Players, &agentv1.Match_Player{
			Player: p.player, JoinedMs: p.joined.UnixMilli(), LeftMs: millis(p.left), Result: p.result, Reconnects: p.reconnects,
		})
	}
	return m
}

// agreed: there are accounts of the result, and they are alike.
func (m *match) agreed() bool {
	var first *part
	for _, p := range m.parts {
		switch {
		case !p.finished:
		case first == nil:
			first = p
		case !bytes.Equal(first.result, p.result):
			return false
		}
	}
	return first != nil
}

// millis is Unix time in milliseconds, 0 for no time.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}
