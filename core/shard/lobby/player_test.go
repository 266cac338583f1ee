package lobby_test

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"p2pmodel/core/shard"
	"p2pmodel/core/shard/api/agentv1"
	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/pass"
	"p2pmodel/core/shard/rpc"
)

// player is a player with a session at an Agent.
type player struct {
	w          *world
	name       string
	session    string
	generation uint64
	life       time.Duration
}

func (w *world) player(name string) *player {
	return &player{w, name, "s-" + name, 1, time.Minute}
}

// pass is one that was given just now.
func (p *player) pass() []byte {
	raw, err := pass.Sign(p.w.key, &insidev1.Pass{
		Session: p.session, Player: p.name, Rating: 1500, Generation: p.generation, ExpiresMs: time.Now().Add(p.life).UnixMilli(), Agent: "x",
	})
	fatal(p.w.t, err)
	return raw
}

func call[Resp any, P interface {
	*Resp
	proto.Message
}](p *player, subject string, req proto.Message) (P, error) {
	return rpc.Call[Resp, P](context.Background(), p.w.client, subject, req, rpc.WithPass(p.pass()), rpc.WithTimeout(3*time.Second))
}

func (p *player) join(on, id string) (*agentv1.Room, error) {
	resp, err := call[agentv1.JoinRoomResponse](p, shard.LobbySubject(on, "JoinRoom"), &agentv1.JoinRoomRequest{Room: id})
	return resp.GetRoom(), err
}

func (p *player) ready(on, id string) error {
	_, err := call[agentv1.SetReadyResponse](p, shard.LobbySubject(on, "SetReady"), &agentv1.SetReadyRequest{Room: id, Ready: true})
	return err
}

func (p *player) leave(on, id string) error {
	_, err := call[agentv1.LeaveRoomResponse](p, shard.LobbySubject(on, "LeaveRoom"), &agentv1.LeaveRoomRequest{Room: id})
	return err
}

func (p *player) say(on, id, text string) error {
	_, err := call[agentv1.ChatResponse](p, shard.LobbySubject(on, "Chat"), &agentv1.ChatRequest{Room: id, Text: text})
	return err
}

func (p *player) presence(on, id string, online bool) error {
	_, err := call[insidev1.PresenceResponse](p, shard.LobbySubject(on, "Presence"), &insidev1.PresenceRequest{Room: id, Online: online})
	return err
}

func (p *player) look(on, id string) (*agentv1.Room, error) {
	resp, err := call[agentv1.GetRoomResponse](p, shard.LobbySubject(on, "GetRoom"), &agentv1.GetRoomRequest{Room: id})
	return resp.GetRoom(), err
}

func (p *player) ticket(on, id, peer string) (*agentv1.PlayTicketResponse, error) {
	key := peerID(peer)
	return call[agentv1.PlayTicketResponse](p, shard.GameSubject(on, "PlayTicket"), &agentv1.PlayTicketRequest{Room: id, PeerId: key[:]})
}

func (p *player) report(on, id string, path agentv1.PathKind, others ...string) error {
	req := &agentv1.ReportRequest{Room: id}
	for _, o := range others {
		req.Connections = append(req.Connections, &agentv1.Connection{Player: o, Path: path, RttMs: 20})
	}
	_, err := call[agentv1.ReportResponse](p, shard.GameSubject(on, "Report"), req)
	return err
}

func (p *player) finish(on, id, result string) error {
	_, err := call[agentv1.FinishResponse](p, shard.GameSubject(on, "Finish"), &agentv1.FinishRequest{Room: id, Result: []byte(result)})
	return err
}

func (p *player) match(on, id string) (*agentv1.Match, error) {
	resp, err := call[agentv1.GetMatchResponse](p, shard.GameSubject(on, "GetMatch"), &agentv1.GetMatchRequest{Room: id})
	return resp.GetMatch(), err
}

// told gives the kinds of the events that the player got since it was asked last.
func (p *player) told() (kinds []string) {
	for _, e := range p.events() {
		kinds = append(kinds, kindOf(e))
	}
	return kinds
}

func (p *player) events() []*agentv1.Event {
	p.w.settle()
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	events := p.w.events[p.session]
	delete(p.w.events, p.session)
	return events
}

func kindOf(e *agentv1.Event) string {
	name := fmt.Sprintf("%T", e.Kind)
	return name[strings.LastIndexByte(name, '_')+1:]
}
