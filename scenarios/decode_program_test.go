package scenarios

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

// everyProgram is a scenario of programs with each of their keys.
const everyProgram = `
id: PRG
title: programs
lab: {routers: {home: {nat: linux}}, hosts: {a: {behind: home}, b: {}, turn: {}}}
relay: turn
programs:
  server:
    host: turn
    run: turnserver -n --user=$LAB_RELAY_USER:"pass word" '--realm=${LAB_RELAY_REALM}'
    needs: [sh]
    user: nobody
    env: {WORD: $LAB_ADDR_HOME, LAB_OWN: 5}
    dir: here
    ready: {port: udp/3478, line: 'up \d', file: $LAB_DIR/up, within: 3s}
    adapter: json
    stop: {signal: int, within: 1s}
  client: {host: a, run: [client, $LAB_RELAY]}
settings: {scale: 2}
expect:
  exits: {client: 137}
  output: {server: '(?m)^hello$'}
  delivered: [{from: a, to: b, bytes: 10kB, over: relay}, {from: b, to: a, bytes: 0}]
  within: 5s
controls:
  - {name: cut, why: because, before: [{cut: a}], expect: {exits: {client: 1}}}
`

// everyPeer is one in which peers are programs.
const everyPeer = `
id: PEER
title: peers
lab: {hosts: {a: {}, b: {}, signal: {}}}
programs:
  signal: {host: signal, run: signal}
peers:
  a: {host: a, run: agent $LAB_PEER, adapter: json}
  b: {host: b, run: agent $LAB_PEER, user: 1000}
connect: [[a, b]]
phases:
  - name: one
    expect: {path: direct, exits: {a: 0}}
  - name: two
    do: [{cut: a}]
    expect: {path: none}
`

func TestProgramsOfAFile(t *testing.T) {
	sc, err := Parse("x.yaml", []byte(everyProgram))
	if err != nil {
		t.Fatal(err)
	}
	want := &Program{
		Name: "server", Host: "turn",
		Run:   []string{"turnserver", "-n", "--user=$LAB_RELAY_USER:pass word", "--realm=${LAB_RELAY_REALM}"},
		Needs: []string{"sh"}, User: "nobody", Env: []string{"WORD=$LAB_ADDR_HOME", "LAB_OWN=5"}, Dir: "here",
		Ready:   Ready{Port: PortRange{"udp", 3478, 3478}, Line: `up \d`, File: "$LAB_DIR/up", Within: 3 * time.Second},
		Adapter: true, Stop: Stop{"int", time.Second},
	}
	if !reflect.DeepEqual(sc.Programs[0], want) {
		t.Errorf("got  %+v\nwant %+v", sc.Programs[0], want)
	}
	if sc.ServedBy(ServerRelay) != sc.Programs[0] || sc.ServedBy(ServerRendezvous) != nil || sc.Foreign() {
		t.Error("the relay is the program server, and there is no rendezvous and no foreign peer")
	}
	second := &Program{
		Name: "client", Host: "a", Run: []string{"client", "$LAB_RELAY"},
		Ready: Ready{Within: DefaultReadyWithin}, Stop: Stop{DefaultStopSignal, DefaultStopWithin},
	}
	if !reflect.DeepEqual(sc.Programs[1], second) {
		t.Errorf("got  %+v\nwant %+v", sc.Programs[1], second)
	}
	e := sc.Phases[0].Expect
	wanted := Expect{
		Exits: map[string]int{"client": 137}, Output: map[string]string{"server": "(?m)^hello$"},
		Delivered: []DeliveredExpect{{"a", "b", 10_000, Relay}, {"b", "a", 0, ""}}, Within: 5 * time.Second,
	}
	if !reflect.DeepEqual(e, wanted) {
		t.Errorf("got  %+v\nwant %+v", e, wanted)
	}
	if within := sc.Controls[0].Expect.Within; within != DefaultProgramsWithin {
		t.Errorf("the control waits for %v", within)
	}
	peers, err := Parse("x.yaml", []byte(everyPeer))
	if err != nil {
		t.Fatal(err)
	}
	if !peers.Foreign() || len(peers.AllPrograms()) != 3 || peers.RendezvousHosts() != nil || len(peers.RelayHosts()) != 0 {
		t.Errorf("peers that are programs: %+v", peers)
	}
}

// Each row changes a good file in one place; the decoder says what is wrong with
// it. What an editor can see is refused by the schema, too.
func TestMistakesInPrograms(t *testing.T) {
	schema := compiled(t)
	for _, file := range []string{everyProgram, everyPeer} {
		if err := schema.Validate(asJSON(t, file)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name, old, new string
		says           string
		schema         bool // refuses it, too
	}{
		{"no host", "{host: a, run: [client, $LAB_RELAY]}", "{run: [client]}", `"host" is missing`, true},
		{"no command", "{host: a, run: [client, $LAB_RELAY]}", "{host: a}", `"run" is missing`, true},
		{"an empty command", "[client, $LAB_RELAY]", "[]", "a command is missing", true},
		{"an open quotation", "[client, $LAB_RELAY]", `"client 'x"`, "a quotation is not closed", false},
		{"an unknown host", "client: {host: a,", "client: {host: aa,", `did you mean "a"`, false},
		{"an unknown variable", "$LAB_RELAY]", "$LAB_RELAI]", `the lab has no variable LAB_RELAI; did you mean "LAB_RELAY"`, false},
		{"a rendezvous that is not there", "$LAB_RELAY]", "$LAB_RENDEZVOUS]", "the lab has no variable LAB_RENDEZVOUS", false},
		{"an unknown variable in env", "WORD: $LAB_ADDR_HOME", "WORD: $LAB_ADDR_HOMME", `did you mean "LAB_ADDR_HOME"`, false},
		{"no name of a variable", "{WORD: $", "{a-b: $", `"a-b" is no name of a variable`, false},
		{"no user", "user: nobody", "user: no body", `"no body" is not`, false},
		{"two ports", "udp/3478,", "udp/3478-3479,", "a port is as tcp/443", true},
		{"no protocol", "udp/3478,", "3478,", "a port is as tcp/443", true},
		{"no expression", `'up \d'`, `'up ('`, "is no regular expression", false},
		{"another adapter", "adapter: json", "adapter: xml", `unknown adapter "xml"`, true},
		{"an unknown signal", "signal: int", "signal: sigint", `unknown signal "sigint"`, true},
		{"no time at all", "file: $LAB_DIR/up, within: 3s", "within: 0s", "more than 0", false},
		{"the exit of nobody", "exits: {client: 137}", "exits: {clint: 137}", `did you mean "client"`, false},
		{"no exit status", "client: 137", "client: 256", "not between 0 and 255", true},
		{"an expected path", "exits: {client: 137}", "path: direct\n  exits: {client: 137}", "path: is about peers", false},
		{"nothing expected", "expect: {exits: {client: 1}}", "expect: {}", "say what has to come of the programs", true},
		{"to itself", "from: b, to: a", "from: b, to: b", "on no wire", false},
		{"mixed deliveries", "over: relay", "over: mixed", `unknown path "mixed"`, true},
		{"over a relay that is not there", "relay: turn\n", "", "say relay: HOST", false},
		{"payload of ours", "{scale: 2}", "{scale: 2, interval: 10ms}", "interval: is about our own peers", false},
		{"a keepalive of ours", "{name: cut,", "{name: cut, keepalive: off,", "keepalive: is about our own peers", false},
		{"a pair of nobody", "settings:", "connect: [[a, b]]\nsettings:", "connect: goes with peers:", true},
		{"an action on payload", "    do: [{cut: a}]", "    do: [{quiet: 1s}]", "quiet tells our own peers what to send", false},
		{"a server that is not there", "    do: [{cut: a}]", "    do: [{stop: relay}]", "the scenario has no relay", false},
		{"one peer of ours", "a: {host: a, run: agent $LAB_PEER, adapter: json}", "a: {host: a}", "either all peers are programs or none is", true},
		{"keys without a command", "b: {host: b, run: agent $LAB_PEER, user: 1000}", "b: {host: b, user: root}", "user: goes with run:", true},
		{"a peer's host", "{host: signal, run: signal}", "{host: a, run: signal}", "runs the program signal", false},
		{"a name twice", "  signal: {host: signal,", "  a: {host: signal,", `"a" is the name of a program and of a peer`, false},
		{"a room", "connect: [[a, b]]\nphases", "room: lobby\nphases", "room: is for our own peers", true},
		{"nobody meets", "connect: [[a, b]]\nphases", "phases", "say how the peers meet", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := everyProgram
			if !strings.Contains(file, c.old) {
				file = everyPeer
			}
			if !strings.Contains(file, c.old) {
				t.Fatalf("there is no %q", c.old)
			}
			file = strings.Replace(file, c.old, c.new, 1)
			_, err := Parse("x.yaml", []byte(file))
			if err == nil || !strings.Contains(err.Error(), c.says) || !strings.HasPrefix(err.Error(), "x.yaml:") {
				t.Errorf("decoder: %v; want %q", err, c.says)
			}
			if err := schema.Validate(asJSON(t, file)); (err != nil) != c.schema {
				t.Errorf("schema: %v; refused: want %v", err, c.schema)
			}
		})
	}
}

func TestCommandLines(t *testing.T) {
	for line, want := range map[string][]string{
		"iperf3 -s":                   {"iperf3", "-s"},
		"  a\n  b\t c ":               {"a", "b", "c"},
		`sh -c 'echo "a b" \n'`:       {"sh", "-c", `echo "a b" \n`},
		`a "b 'c' \" $LAB_X" d\ e ''`: {"a", `b 'c' " $LAB_X`, "d e", ""},
		`--user="a b"c'd e'`:          {"--user=a bcd e"},
		"":                            nil,
	} {
		if got, err := splitCommand(line); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %q, %v; want %q", line, got, err, want)
		}
	}
	for _, line := range []string{`a "b`, `a 'b`, `a \`} {
		if got, err := splitCommand(line); err == nil {
			t.Errorf("%q: %q", line, got)
		}
	}
}

func TestExpandLab(t *testing.T) {
	value := func(name string) (string, bool) { return "1.2.3.4", name == "LAB_ADDR_A" }
	for text, want := range map[string]string{
		"$LAB_ADDR_A:80 ${LAB_ADDR_A}x": "1.2.3.4:80 1.2.3.4x",
		"$LAB_ADDR_B $HOME ${LAB_x} $$": "$LAB_ADDR_B $HOME ${LAB_x} $$",
	} {
		if got := ExpandLab(text, value); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
