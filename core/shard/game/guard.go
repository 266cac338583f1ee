package game

import (
	"errors"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"p2pmodel/core/shard/limits"
	"p2pmodel/core/shard/pass"
	"p2pmodel/core/shard/room"
	"p2pmodel/core/shard/rpc"
)

// Guard admits what Agents ask in the name of sessions.
type Guard struct {
	Lease  Lease
	Passes *pass.Verifier
}

// Admit checks that the lease is held, the pass and the request, in this order.
// Unauthenticated: the pass is none, or has to be renewed. FailedPrecondition:
// another Agent holds the session.
func (g Guard) Admit(call *rpc.Request, m proto.Message) (room.Caller, error) {
	if !g.Lease.Held() {
		return room.Caller{}, unavailable()
	}
	p, err := g.Passes.Verify(call.Pass, time.Now())
	switch {
	case errors.Is(err, pass.ErrSuperseded):
		return room.Caller{}, rpc.Errorf(connect.CodeFailedPrecondition, "%v", err)
	case err != nil:
		return room.Caller{}, rpc.Errorf(connect.CodeUnauthenticated, "%v", err)
	}
	// What is in a pass becomes part of subjects and events.
	if err := errors.Join(limits.CheckSession("pass.session", p.Session), limits.CheckPlayer("pass.player", p.Player)); err != nil {
		return room.Caller{}, rpc.Errorf(connect.CodeUnauthenticated, "the pass names no session or player that can be")
	}
	if m != nil {
		if err := limits.Check(m); err != nil {
			return room.Caller{}, err
		}
	}
	return room.Caller{
		Session: p.Session, Player: p.Player, Rating: p.Rating, Generation: p.Generation, Until: time.UnixMilli(p.ExpiresMs),
	}, nil
}
