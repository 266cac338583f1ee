package directory

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/engine"
)

// Buckets. Their configuration is fixed: a bucket cannot be opened with another
// one than it was made with.
var (
	shardsBucket   = engine.BucketConfig{Name: "directory-shards", MaxValue: 4 << 10, MaxBytes: 16 << 20}
	roomsBucket    = engine.BucketConfig{Name: "directory-rooms", MaxValue: MaxRecord + 1<<10, MaxBytes: 512 << 20}
	sessionsBucket = engine.BucketConfig{Name: "directory-sessions", TTL: 48 * time.Hour, MaxValue: 2 << 10, MaxBytes: 128 << 20}
	tokensBucket   = engine.BucketConfig{Name: "directory-tokens", TTL: tokenTTL, MaxValue: 64, MaxBytes: loginsPerSecond * int(tokenTTL/time.Second) * tokenEntry}
	modesBucket    = engine.BucketConfig{Name: "directory-modes", TTL: modeLife, MaxValue: 256, MaxBytes: 4 << 20}
	configBucket   = engine.BucketConfig{Name: "directory-config", MaxValue: 16 << 10, MaxBytes: 1 << 20}
)

// A used login token is kept in mind for tokenTTL. There is place for so many logins a
// second all that time; beyond it nobody could log in until entries end. An entry
// takes less than tokenEntry bytes.
const (
	tokenTTL        = MaxTokenLife + time.Hour
	loginsPerSecond = 40
	tokenEntry      = 160
)

type (
	shardTable   = table[insidev1.StoredShard, *insidev1.StoredShard]
	memberTable  = table[insidev1.StoredMember, *insidev1.StoredMember]
	roomTable    = table[insidev1.StoredRoom, *insidev1.StoredRoom]
	sessionTable = table[insidev1.StoredSession, *insidev1.StoredSession]
	modeTable    = table[insidev1.StoredMode, *insidev1.StoredMode]
	keyTable     = table[insidev1.StoredKeys, *insidev1.StoredKeys]
)

// buckets are what is open.
type buckets struct {
	mirrors []*mirror
	shards  *mirror
	rooms   *mirror
	tokens  engine.Bucket
}

// state is the copy of all buckets, with what is looked up in it.
type state struct {
	mu       sync.RWMutex
	shards   shardTable
	members  memberTable
	rooms    roomTable
	sessions sessionTable
	modes    modeTable
	keys     keyTable

	// roomsOf and playersOf are by shard, of the rooms' records; inRooms is which
	// rooms a session is in; listed are the ids of rooms that are no secret, in
	// order.
	roomsOf   map[string]map[string]bool
	playersOf map[string]int
	inRooms   map[string]map[string]bool
	// sessionsOf counts the sessions of players.
	sessionsOf map[string]int
	pending    map[string]bool
	listed     []string
	// promised counts, by shard, the rooms and players that are being placed.
	promised map[string]amount
	// serving is when this member began to answer, registered when it saw that a
	// shard had registered.
	serving    time.Time
	registered map[string]time.Time
}

type amount struct{ rooms, players int }

func (st *state) init() {
	st.roomsOf, st.playersOf = map[string]map[string]bool{}, map[string]int{}
	st.sessionsOf = map[string]int{}
	st.inRooms, st.pending = map[string]map[string]bool{}, map[string]bool{}
	st.promised = map[string]amount{}
	st.registered = map[string]time.Time{}
}

// openBuckets opens all buckets, as soon as the engine has them.
func (s *Server) openBuckets(ctx context.Context) error {
	open := func(cfg engine.BucketConfig) (engine.Bucket, error) {
		b, err := retry(ctx, func() (engine.Bucket, error) {
			ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			return s.cfg.Engine.Bucket(ctx, cfg)
		})
		if err != nil {
			return nil, fmt.Errorf("directory: open bucket %s: %w", cfg.Name, err)
		}
		return b, nil
	}
	st := &s.state
	for _, b := range []struct {
		cfg    engine.BucketConfig
		tables func(*mirror) []applier
	}{
		{shardsBucket, func(m *mirror) []applier {
			s.kv.shards = m
			st.shards = shardTable{prefix: "shard.", mirror: m, rows: map[string]row[*insidev1.StoredShard]{}, changed: s.shardChanged}
			st.members = memberTable{prefix: "member.", mirror: m, rows: map[string]row[*insidev1.StoredMember]{}, changed: s.memberChanged}
			return []applier{&st.shards, &st.members}
		}},
		{roomsBucket, func(m *mirror) []applier {
			s.kv.rooms = m
			st.rooms = roomTable{prefix: "room.", mirror: m, rows: map[string]row[*insidev1.StoredRoom]{}, changed: st.roomChanged}
			return []applier{&st.rooms}
		}},
		{sessionsBucket, func(m *mirror) []applier {
			st.sessions = sessionTable{mirror: m, rows: map[string]row[*insidev1.StoredSession]{}, changed: st.sessionChanged}
			return []applier{&st.sessions}
		}},
		{modesBucket, func(m *mirror) []applier {
			st.modes = modeTable{mirror: m, rows: map[string]row[*insidev1.StoredMode]{}}
			return []applier{&st.modes}
		}},
		{configBucket, func(m *mirror) []applier {
			st.keys = keyTable{mirror: m, rows: map[string]row[*insidev1.StoredKeys]{}, changed: s.keysChanged}
			return []applier{&st.keys}
		}},
	} {
		bucket, err := open(b.cfg)
		if err != nil {
			return err
		}
		m := newMirror(bucket, &st.mu)
		m.tables = b.tables(m)
		s.kv.mirrors = append(s.kv.mirrors, m)
	}
	var err error
	s.kv.tokens, err = open(tokensBucket)
	return err
}

func (s *Server) watchBuckets(ctx context.Context, group *errgroup.Group) {
	for _, m := range s.kv.mirrors {
		group.Go(func() error {
			return m.run(ctx, func(err error) { s.log.Error("an entry of a bucket cannot be read", "error", err) })
		})
	}
}

// roomChanged keeps what is looked up in step. The lock is held.
func (st *state) roomChanged(id string, old, room *insidev1.StoredRoom) {
	if old != nil {
		r := old.Record
		st.playersOf[r.Shard] -= len(r.Members)
		drop(st.roomsOf, r.Shard, id)
		for _, m := range r.Members {
			drop(st.inRooms, m.GetParticipant().GetSession(), id)
		}
	}
	delete(st.pending, id)
	if room != nil {
		r := room.Record
		st.playersOf[r.Shard] += len(r.Members)
		add(st.roomsOf, r.Shard, id)
		for _, m := range r.Members {
			add(st.inRooms, m.GetParticipant().GetSession(), id)
		}
		if room.Pending {
			st.pending[id] = true
		}
	}
	i, there := slices.BinarySearch(st.listed, id)
	switch want := room != nil && isListed(room.Record); {
	case want && !there:
		st.listed = slices.Insert(st.listed, i, id)
	case !want && there:
		st.listed = slices.Delete(st.listed, i, i+1)
	}
}

func isListed(r *insidev1.RoomRecord) bool {
	return r.GetSettings().GetKind() == agentv1.RoomKind_ROOM_KIND_PLAY && !r.GetSettings().GetPrivate()
}

func add(sets map[string]map[string]bool, key, member string) {
	if sets[key] == nil {
		sets[key] = map[string]bool{}
	}
	sets[key][member] = true
}

func drop(sets map[string]map[string]bool, key, member string) {
	delete(sets[key], member)
	if len(sets[key]) == 0 {
		delete(sets, key)
	}
}

// lost reports that the process that had a room has it no more: its shard is dead,
// or another process goes by its name. The lock is held.
func (st *state) lost(room *insidev1.StoredRoom) bool {
	sh, ok := st.shards.rows[room.Record.Shard]
	return !ok || !sh.value.Alive || room.ShardEpoch < sh.value.FirstEpoch
}

// sign is when there was a last sign of a shard's life: a heartbeat, heard here; its
// registration, which a majority of heartbeats may follow before one comes here; or
// what the register said when this member began to answer, and had heard of nobody.
// The lock is held.
func (st *state) sign(shard string, heard time.Time) time.Time {
	last := st.serving
	for _, t := range []time.Time{heard, st.registered[shard]} {
		if t.After(last) {
			last = t
		}
	}
	return last
}

// sessionChanged counts the sessions of players; nil is no session.
func (st *state) sessionChanged(_ string, old, now *insidev1.StoredSession) {
	if old != nil {
		if st.sessionsOf[old.Player]--; st.sessionsOf[old.Player] <= 0 {
			delete(st.sessionsOf, old.Player)
		}
	}
	if now != nil {
		st.sessionsOf[now.Player]++
	}
}
