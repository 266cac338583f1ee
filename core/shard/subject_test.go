package shard_test

import (
	"testing"

	"p2pmodel/core/shard"
)

func TestSubjects(t *testing.T) {
	for _, row := range []struct{ subject, want, target, method string }{
		{shard.DirectorySubject("FindRoom"), "directory.FindRoom", "directory", "directory.FindRoom"},
		{shard.DirectoryFrom("a", "SaveRoom"), "directory.from.a.SaveRoom", "directory", "directory.SaveRoom"},
		{shard.MemberSubject(1, "Fence"), "directory.member.1.Fence", "directory.member.1", "member.Fence"},
		{shard.MemberFrom(2, "a", "Heartbeat"), "directory.member.2.from.a.Heartbeat", "directory.member.2", "member.Heartbeat"},
		{shard.LobbySubject("a", "Chat"), "shard.a.lobby.Chat", "shard.a", "lobby.Chat"},
		{shard.GameSubject("a", "Report"), "shard.a.game.Report", "shard.a", "game.Report"},
		{shard.EventSubject("a", "s"), "shard.a.event.s", "shard.a", "event.s"},
		{shard.SessionEvents("s"), "shard.*.event.s", "shard.*", "event.s"},
	} {
		if row.subject != row.want {
			t.Errorf("subject %s, want %s", row.subject, row.want)
		}
		if got := shard.Target(row.subject); got != row.target {
			t.Errorf("the target of %s is %s, want %s", row.subject, got, row.target)
		}
		if got := shard.Method(row.subject); got != row.method {
			t.Errorf("the method of %s is %s, want %s", row.subject, got, row.method)
		}
	}
}
