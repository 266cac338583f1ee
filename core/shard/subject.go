package shard

import "fmt"

// Subjects of the engine. A server has one prefix of its own, which is what
// permissions are given by.
//
//	directory.METHOD            any directory (queue group)
//	directory.member.N.METHOD   the N-th directory
//	shard.ID.lobby.METHOD       a shard's lobby
//	shard.ID.game.METHOD        a shard's game server
//	shard.ID.event.SESSION      events of a shard for one session
//	agent.NAME.…                nothing yet: nobody calls Agents

// DirectorySubject is where a method of DirectoryService is answered.
func DirectorySubject(method string) string { return "directory." + method }

// MemberSubject is where a method of DirectoryMemberService is answered by the
// n-th directory.
func MemberSubject(n int, method string) string {
	return fmt.Sprintf("directory.member.%d.%s", n, method)
}

// LobbySubject is where a method of a shard's LobbyService is answered.
func LobbySubject(id, method string) string { return "shard." + id + ".lobby." + method }

// GameSubject is where a method of a shard's GameService is answered.
func GameSubject(id, method string) string { return "shard." + id + ".game." + method }

// EventSubject is where a shard publishes what a session has to know.
func EventSubject(id, session string) string { return "shard." + id + ".event." + session }

// SessionEvents matches the events of a session, whichever shard they are of.
func SessionEvents(session string) string { return "shard.*.event." + session }
