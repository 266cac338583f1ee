package shard

import (
	"fmt"
	"strings"
)

// Subjects of the engine. A server has one prefix of its own, which is what
// permissions are given by.
//
//	directory.METHOD                 any directory (queue group), for Agents and operators
//	directory.from.ID.METHOD         the same, for the shard ID, which alone may send it
//	directory.member.N.METHOD        the N-th directory, for directories
//	directory.member.N.from.ID.METHOD  the same, for the shard ID
//	shard.ID.lobby.METHOD            a shard's lobby
//	shard.ID.game.METHOD             a shard's game server
//	shard.ID.event.SESSION           events of a shard for one session
//
// So a subject says who calls: what a shard states of itself in a message has to
// be the ID of the subject that it came by. Nobody calls Agents.

// DirectorySubject is where a method of DirectoryService is answered.
func DirectorySubject(method string) string { return "directory." + method }

// MemberSubject is where a method of DirectoryMemberService is answered by the
// n-th directory.
func MemberSubject(n int, method string) string {
	return fmt.Sprintf("directory.member.%d.%s", n, method)
}

// DirectoryFrom is where a shard calls a method of DirectoryService; directories
// serve it with * for the shard.
func DirectoryFrom(id, method string) string { return "directory.from." + id + "." + method }

// MemberFrom is where a shard calls a method of DirectoryMemberService.
func MemberFrom(n int, id, method string) string {
	return fmt.Sprintf("directory.member.%d.from.%s.%s", n, id, method)
}

// LobbySubject is where a method of a shard's LobbyService is answered.
func LobbySubject(id, method string) string { return "shard." + id + ".lobby." + method }

// GameSubject is where a method of a shard's GameService is answered.
func GameSubject(id, method string) string { return "shard." + id + ".game." + method }

// EventSubject is where a shard publishes what a session has to know.
func EventSubject(id, session string) string { return "shard." + id + ".event." + session }

// SessionEvents matches the events of a session, whichever shard they are of.
func SessionEvents(session string) string { return "shard.*.event." + session }

// Target is the server of a subject, as far as callers tell them apart: what is
// before the service, such as shard.ID, directory.member.N or directory.
func Target(subject string) string {
	tokens := strings.Split(subject, ".")
	switch {
	case tokens[0] == "shard" && len(tokens) > 2:
		return "shard." + tokens[1]
	case tokens[0] == "directory" && len(tokens) > 3 && tokens[1] == "member":
		return "directory.member." + tokens[2]
	}
	return tokens[0]
}

// Method is the service and the method of a subject, without names: lobby.Chat,
// directory.FindRoom, member.Heartbeat.
func Method(subject string) string {
	tokens := strings.Split(subject, ".")
	last := tokens[len(tokens)-1]
	switch {
	case tokens[0] == "shard" && len(tokens) > 3:
		return tokens[2] + "." + last
	case tokens[0] == "directory" && len(tokens) > 3 && tokens[1] == "member":
		return "member." + last
	}
	return tokens[0] + "." + last
}
