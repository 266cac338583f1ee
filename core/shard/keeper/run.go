package keeper

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"sync"
	"time"

	"connectrpc.com/connect"

	"p2pmodel/core/shard"
	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/history"
	"p2pmodel/core/shard/lease"
	"p2pmodel/core/shard/rpc"
)

const (
	// registerTimeout bounds one attempt to register, which may include the
	// fencing of a former process; registerPause is between attempts.
	registerTimeout = 1500 * time.Millisecond
	registerPause   = 200 * time.Millisecond
)

// step does what is due.
func (k *Keeper) step(ctx context.Context, calls *sync.WaitGroup) {
	rooms, players := k.cfg.Load()
	now := time.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.wantsToRegister() && !k.registering && !now.Before(k.next) {
		k.registering = true
		calls.Go(func() { k.register(ctx) })
	}
	if h := k.holder; h != nil {
		for _, b := range h.Poll(now) {
			calls.Go(func() { k.beat(ctx, h, b, rooms, players) })
		}
	}
	k.tell(now)
}

func (k *Keeper) wantsToRegister() bool { return k.holder == nil || k.holder.Anew() }

// sleep is how long nothing is due.
func (k *Keeper) sleep() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	now, wait := time.Now(), time.Hour
	earlier := func(t time.Time) {
		if d := t.Sub(now); !t.IsZero() && d < wait {
			wait = max(0, d)
		}
	}
	if k.wantsToRegister() && !k.registering {
		earlier(k.next)
	}
	if k.holder != nil {
		earlier(k.holder.Next())
		if k.holder.Held(now) {
			earlier(k.holder.Until())
		}
	}
	return wait
}

func (k *Keeper) nudge() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// tell notices changes, for those who wait for them, the log and the metrics.
func (k *Keeper) tell(now time.Time) {
	s := k.state(now)
	if s == k.told {
		return
	}
	switch {
	case s.Held && !k.told.Held:
		k.cfg.Log.Info("the lease is held", "shard", k.cfg.Shard, "epoch", s.Epoch, "term", s.Term)
	case !s.Held && k.told.Held && !k.left:
		k.metrics.lapses.Inc()
		k.reason = errors.New("too few directories have granted it lately")
		k.cfg.Log.Warn("the lease has lapsed: no majority of directories answers; rooms are not served", "shard", k.cfg.Shard, "epoch", s.Epoch)
	}
	k.metrics.show(s)
	k.told = s
	close(k.changed)
	k.changed = make(chan struct{})
}

// register asks for an epoch.
func (k *Keeper) register(ctx context.Context) {
	resp, err := rpc.Call[insidev1.RegisterShardResponse](ctx, k.client, shard.DirectoryFrom(k.cfg.Shard, "RegisterShard"),
		&insidev1.RegisterShardRequest{
			Shard: k.cfg.Shard, Incarnation: k.incarnation,
			CapacityRooms: uint32(k.cfg.CapacityRooms), CapacityPlayers: uint32(k.cfg.CapacityPlayers),
		}, rpc.WithTimeout(registerTimeout))
	now := time.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	defer k.nudge()
	k.registering = false
	if err == nil {
		err = k.begin(resp, now)
	}
	if err == nil || ctx.Err() != nil {
		return
	}
	k.next = now.Add(registerPause)
	if said := k.reason.Error(); said != err.Error() {
		k.cfg.Log.Warn("not registered", "shard", k.cfg.Shard, "error", err)
	}
	k.reason = err
}

// begin takes what a directory answered to a registration.
func (k *Keeper) begin(resp *insidev1.RegisterShardResponse, now time.Time) error {
	terms := lease.Terms{
		Members:   int(resp.Members),
		Grant:     time.Duration(resp.GrantMs) * time.Millisecond,
		Heartbeat: time.Duration(resp.HeartbeatMs) * time.Millisecond,
	}
	if k.holder == nil || k.terms != terms {
		h, err := lease.NewHolder(terms)
		if err != nil {
			return fmt.Errorf("the directory gives terms that cannot be: %w", err)
		}
		if k.holder != nil {
			k.earlier += k.holder.Term()
		}
		k.holder, k.terms = h, terms
	}
	k.setKeys(resp.PassKeys)
	k.holder.Begin(resp.Epoch, now)
	k.reason = errors.New("waiting for a majority of directories")
	return nil
}

// beat sends one heartbeat. Its answer is of use for as long as a grant lasts.
func (k *Keeper) beat(ctx context.Context, to *lease.Holder, b lease.Heartbeat, rooms, players int) {
	resp, err := rpc.Call[insidev1.HeartbeatResponse](ctx, k.client, shard.MemberFrom(b.Member, k.cfg.Shard, "Heartbeat"),
		&insidev1.HeartbeatRequest{
			Shard: k.cfg.Shard, Epoch: b.Epoch, Incarnation: k.incarnation, Sequence: b.Sequence,
			Rooms: uint32(max(0, rooms)), Players: uint32(max(0, players)),
		}, rpc.WithTimeout(k.grant()))
	if err != nil {
		k.metrics.failed(b.Member, connect.Code.String(rpc.CodeOf(err)))
		return
	}
	now := time.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.holder != to {
		return
	}
	if resp.Granted {
		k.holder.Granted(b.Member, b.Sequence, now)
	} else {
		k.holder.Refused(b.Member, b.Sequence)
	}
	op := k.history.Begin(history.Operation{Kind: history.Hold, Shard: k.cfg.Shard, ShardEpoch: k.holder.Epoch()})
	if k.state(time.Now()).Held {
		k.history.Add(op)
	}
	k.draining = resp.Draining
	k.setKeys(resp.PassKeys)
	k.tell(now)
	k.nudge()
}

func (k *Keeper) grant() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.terms.Grant
}

// setKeys takes keys of passes. A member that has not read them yet sends none.
func (k *Keeper) setKeys(raw [][]byte) {
	if len(raw) == 0 {
		return
	}
	keys := make([]ed25519.PublicKey, 0, len(raw))
	for _, r := range raw {
		keys = append(keys, ed25519.PublicKey(r))
	}
	k.verifier.SetKeys(keys...)
}

// leave gives the lease back. From its beginning on it is not held.
func (k *Keeper) leave(ctx context.Context) {
	k.mu.Lock()
	k.left = true
	epoch := k.state(time.Now()).Epoch
	k.tell(time.Now())
	k.mu.Unlock()
	if epoch == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), k.cfg.LeaveTimeout)
	defer cancel()
	_, err := rpc.Call[insidev1.UnregisterShardResponse](ctx, k.client, shard.DirectoryFrom(k.cfg.Shard, "UnregisterShard"),
		&insidev1.UnregisterShardRequest{Shard: k.cfg.Shard, Epoch: epoch}, rpc.Idempotent(), rpc.WithTimeout(k.cfg.LeaveTimeout))
	if err != nil {
		k.cfg.Log.Warn("the lease was not given back; directories find out by its end", "shard", k.cfg.Shard, "error", err)
	}
}
