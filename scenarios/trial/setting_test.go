package trial

import (
	"errors"
	"strings"
	"testing"
	"time"

	"p2pmodel/nat"
	"p2pmodel/sim/link"
)

func TestSettingsThatAreRefused(t *testing.T) {
	cone := nat.Behavior{Filtering: nat.AddressAndPortDependent}
	home := Player{Chain: []Node{{NAT: &cone}}, SameHome: 1}
	slow := home
	slow.Up.Delay = time.Millisecond
	for _, c := range []struct {
		name    string
		setting Setting
		says    string
	}{
		{"nobody to talk to", Setting{Players: []Player{{}}}, "1 players, want 2 to 16"},
		{"a crowd", Setting{Players: make([]Player, 17)}, "17 players"},
		{"a router that is none", Setting{Players: []Player{{}, {Chain: []Node{{}}}}}, "player 1, router 1 of its chain: it is neither a NAT nor a firewall"},
		{"a NAT that is none", Setting{Players: []Player{{Chain: []Node{{NAT: &nat.Behavior{Delta: -1}}}}, {}}}, "player 0, router 1"},
		{"a line that loses more than all", Setting{Players: []Player{{Up: link.Impairment{Loss: 2}}, {}}}, "player 0, its line up"},
		{"a home without a router", Setting{Players: []Player{{SameHome: 3}, {}}}, "in home 3 without a router"},
		{"a home with two lines", Setting{Players: []Player{home, slow}}, "players 0 and 1 share home 1"},
		{"payload like noise", Setting{Players: make([]Player, 2), Size: 8}, "datagrams of 8 bytes, want 32 to 1100"},
		{"an interval too short", Setting{Players: make([]Player, 2), Interval: 1}, "an interval of 1ns, want at least 1ms"},
	} {
		if _, err := New(c.setting); !errors.Is(err, ErrSetting) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", c.name, err, c.says)
		}
	}
	if _, err := New(Setting{Players: []Player{home, home}}); err != nil {
		t.Errorf("two players of one home: %v", err)
	}
}
