package layout

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"

	"p2pmodel/core/shard"
	"p2pmodel/core/shard/api/insidev1"
)

// What each kind of user may call. Directories may call all of a lobby.
var (
	// AgentDirectory are the methods of DirectoryService for Agents.
	AgentDirectory = []string{
		"OpenSession", "ResumeSession", "RenewPass", "CloseSession",
		"PlaceRoom", "FindRoom", "ListRooms", "QuickMatch", "CancelMatch",
	}
	// AgentLobby are the methods of LobbyService for Agents, AgentGame those of
	// GameService.
	AgentLobby = []string{"JoinRoom", "LeaveRoom", "GetRoom", "SetReady", "Chat", "Presence"}
	AgentGame  = methods("GameService")
	// ShardDirectory are the methods of DirectoryService for shards, ShardMember
	// those of DirectoryMemberService.
	ShardDirectory = []string{"RegisterShard", "UnregisterShard", "SaveRoom", "DropRoom", "PlaceRoom"}
	ShardMember    = []string{"Heartbeat"}
	// OperatorDirectory are the methods of DirectoryService for operators.
	OperatorDirectory = []string{"DrainShard", "ListShards", "FindRoom", "ListRooms"}
	// directoryLobby are those of LobbyService for directories.
	directoryLobby = methods("LobbyService")
)

// methods lists the methods of a service of insidev1.
func methods(service protoreflect.Name) []string {
	found := insidev1.File_core_shard_api_insidev1_inside_proto.Services().ByName(service).Methods()
	names := make([]string, found.Len())
	for i := range names {
		names[i] = string(found.Get(i).Name())
	}
	return names
}

// account is one of NATS.
type account struct {
	name    string
	streams bool // may have them
	users   []user
	exports []export
	imports []imported
}

type user struct {
	name      string
	publish   []string
	subscribe []string
}

// export is a subject that other accounts may import.
type export struct {
	subject string
	events  bool // a stream of events; else a service
	to      []string
}

type imported struct {
	subject string
	events  bool
	from    string
}

const (
	directoryAccount = "DIRECTORY"
	agentAccount     = "AGENT"
	operatorAccount  = "OPERATOR"
	systemAccount    = "SYS"
)

// answers is where NATS lets a request of another account be answered. It is within
// the own account: nobody answers for another one. A permission to answer what was
// asked (allow_responses) would be narrower, but a server that reloads forgets what
// was asked, and answers would get lost.
const answers = "_R_.>"

func shardAccount(id string) string { return "SHARD_" + id }

// accounts gives what there is for a layout.
func (l Layout) accounts() []account {
	directory := account{name: directoryAccount, streams: true}
	agent := account{name: agentAccount}
	operator := account{name: operatorAccount}
	var shards []account

	agentCalls := each(AgentDirectory, shard.DirectorySubject)
	directory.offer(&agent, agentCalls...)
	directory.offer(&operator, each(OperatorDirectory, shard.DirectorySubject)...)
	for _, id := range l.Shards {
		s := account{name: shardAccount(id)}
		calls := each(ShardDirectory, func(m string) string { return shard.DirectoryFrom(id, m) })
		for n := range l.Directories {
			calls = append(calls, each(ShardMember, func(m string) string { return shard.MemberFrom(n, id, m) })...)
		}
		directory.offer(&s, calls...)
		s.offer(&agent, each(AgentLobby, func(m string) string { return shard.LobbySubject(id, m) })...)
		s.offer(&agent, each(AgentGame, func(m string) string { return shard.GameSubject(id, m) })...)
		s.offer(&directory, each(directoryLobby, func(m string) string { return shard.LobbySubject(id, m) })...)
		s.tell(&agent, shard.EventSubject(id, "*"))
		s.users = []user{{
			name:      ShardUser(id),
			publish:   append(calls, shard.EventSubject(id, "*"), answers),
			subscribe: []string{shard.LobbySubject(id, "*"), shard.GameSubject(id, "*")},
		}}
		shards = append(shards, s)
	}
	for n := range l.Directories {
		directory.users = append(directory.users, l.directoryUser(n))
	}
	for _, name := range l.Agents {
		agent.users = append(agent.users, user{
			name: AgentUser(name),
			publish: slices.Concat(agentCalls,
				each(AgentLobby, func(m string) string { return shard.LobbySubject("*", m) }),
				each(AgentGame, func(m string) string { return shard.GameSubject("*", m) })),
			subscribe: []string{shard.SessionEvents("*")},
		})
	}
	for _, name := range l.Operators {
		operator.users = append(operator.users, user{name: OperatorUser(name), publish: each(OperatorDirectory, shard.DirectorySubject)})
	}
	return append([]account{{name: systemAccount}, directory, agent, operator}, shards...)
}

// directoryUser is a directory, which uses streams and asks the other members.
func (l Layout) directoryUser(n int) user {
	return user{
		name: DirectoryUser(n),
		publish: []string{
			shard.LobbySubject("*", "*"), "directory.member.*.*",
			"$JS.API.>", "$KV.>", "$JS.FC.>",
			answers, "_INBOX.>",
		},
		subscribe: []string{
			shard.DirectorySubject("*"), shard.DirectoryFrom("*", "*"),
			shard.MemberSubject(n, "*"), shard.MemberFrom(n, "*", "*"),
		},
	}
}

func each(methods []string, subject func(method string) string) []string {
	subjects := make([]string, len(methods))
	for i, m := range methods {
		subjects[i] = subject(m)
	}
	return subjects
}

// offer exports services to another account, which imports them.
func (a *account) offer(to *account, subjects ...string) { a.share(to, false, subjects) }

// tell exports streams of events.
func (a *account) tell(to *account, subjects ...string) { a.share(to, true, subjects) }

func (a *account) share(to *account, events bool, subjects []string) {
	for _, subject := range subjects {
		i := slices.IndexFunc(a.exports, func(e export) bool { return e.subject == subject })
		if i < 0 {
			a.exports = append(a.exports, export{subject: subject, events: events})
			i = len(a.exports) - 1
		}
		a.exports[i].to = append(a.exports[i].to, to.name)
		to.imports = append(to.imports, imported{subject: subject, events: events, from: a.name})
	}
}

// inbox is where answers to a user come.
func (u user) inbox() string { return "_INBOX." + u.name + ".>" }

func (u user) subscribes() []string { return append(slices.Clone(u.subscribe), u.inbox()) }

// quote writes a list of a configuration.
func quote(items []string) string { return `["` + strings.Join(items, `", "`) + `"]` }
