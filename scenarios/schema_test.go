package scenarios

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// compiled is the schema as a validator sees it: after a way through JSON.
func compiled(t *testing.T) *jsonschema.Schema {
	t.Helper()
	text, err := json.Marshal(Schema())
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("scenario.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("scenario.schema.json")
	if err != nil {
		t.Fatalf("the schema is none: %v", err)
	}
	return schema
}

// asJSON reads YAML into what a JSON document would give.
func asJSON(t *testing.T, text string) any {
	t.Helper()
	converted, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(string(converted)))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestCatalogueFollowsTheSchema(t *testing.T) {
	schema := compiled(t)
	files, _ := filepath.Glob("catalog/*.yaml")
	if len(files) == 0 {
		t.Fatal("no catalogue")
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(asJSON(t, string(text))); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// everything is a scenario with each key and each action at least once.
const everything = `
id: ALL-1
title: everything
description: each key once
lab:
  routers:
    nat-a: {nat: "symmetric,timeout=30s", addresses: 2}
    nat-b: {nat: {preset: full-cone}}
  hosts:
    a: {uplinks: {one: {behind: nat-a}, two: {behind: nat-b}}}
    b: {behind: nat-b}
    rendezvous: {}
    relay: {}
  links: {nat-b: {delay: 1ms}}
rendezvous: rendezvous
relay: relay
peers: {a: {host: a}, b: {host: b}}
connect: [[a, b]]
techniques: [plain]
settings: {keepalive: off, interval: 10ms, size: 100, scale: 2}
phases:
  - name: first
    expect: {path: direct}
  - name: second
    do:
      - move: {host: a, uplink: two}
      - reboot: {router: nat-a, new-address: true}
      - swap: {router: nat-b, nat: symmetric}
      - cut: a/one
      - restore: a/one
      - flap: {link: nat-b, times: 3, down: 100ms, up: 1s}
      - restrict: {host: b, to: [rendezvous, relay]}
      - unrestrict: b
      - restart: relay
      - stop: rendezvous
      - quiet: 1s
      - wait: 2s
      - flush: nat-a
      - rebind: {router: nat-a, host: a}
      - move: {host: a, uplink: one, gap: 300ms}
      - move: {host: a, uplink: two, overlap: 200ms}
      - cut: {link: a/one, for: 1s}
      - blackhole: {link: nat-b, direction: down, for: 1s}
      - impair: {link: nat-b, delay: 20ms, up: {loss: 2%}, for: 1s}
      - flap: {link: nat-b, down: 100ms, every: 1s, for: 5s}
      - partition: [[rendezvous], [relay]]
      - heal: true
      - inject: {host: relay, for: 1s, every: 5ms, seed: 7}
      - send: {from: a, count: 3}
    expect: {path: none, mapping: {a: lost, b: kept}, reaches: nat-b}
events:
  - {at: 1s, every: 10s, times: 3, jitter: 1s, reboot: nat-a}
  - {phase: second, flush: {router: nat-a}}
  - {at: 2s, every: 1s, restore: a/one}
explore: {last: 10s, most: 3, outage: 2s, loss: 20%, delay: 50ms, rate: 128kbit, kinds: [loss, cut, inject]}
controls:
  - name: one
    why: because
    events: []
    nats: {nat-a: full-cone, nat-b: {mapping: EIM}}
    before:
      - cut: b
      - restrict: {host: b, to: [relay]}
    keepalive: 15s
    phases:
      - name: first
        expect: {path: relay}
`

// everySystem is the same for what goes with system.
const everySystem = `
id: ALL-2
title: everything of a system
lab:
  routers: {nat-a: {nat: symmetric}}
  hosts:
    a: {behind: nat-a}
    b: {}
    c: {}
    d: {}
    crowd: {}
    engine: {}
    agent-1: {}
    agent-2: {}
    shard-1: {}
    udp-1: {addresses: 2}
    relay-1: {}
    shard-2: {}
    udp-2: {addresses: 2}
    relay-2: {}
system:
  engines: [engine]
  directories: [engine]
  agents: [agent-1, agent-2]
  shards:
    s1: {host: shard-1, rendezvous: udp-1, relay: relay-1}
    s2: {host: shard-2, rendezvous: udp-2, relay: relay-2, later: true}
peers: {a: {host: a}, b: {host: b}, c: {host: c}, d: {host: d}}
rooms: {red: [a, b], blue: [c, d]}
load: {host: crowd, rooms: 5, every: 100ms, fresh: 1s}
phases:
  - name: first
    expect: {path: mixed}
  - name: second
    do:
      - start: {shard: s2}
      - kill: {shard-of: red}
      - kill: {host: agent-1}
      - drain: {shard-of: blue, deadline: 2s}
      - partition: [[engine], [shard-1, shard-2]]
      - heal: true
    expect:
      path: mixed
      rooms: {red: moved, blue: stayed}
      resumed: 5s
      moved: 5s
      load: {failed: 0, slowest: 5s, placed: [s2], only: true}
      scans:
        - {from: crowd, open: {agent-1: [tcp/443], udp-1: [udp/3478-3479]}}
      one-owner: true
`

// What the decoder takes the schema takes as well, and what differs from it in
// one place is refused by both.
func TestSchemaAgreesWithTheDecoder(t *testing.T) {
	schema := compiled(t)
	check := func(t *testing.T, text string, want bool) {
		t.Helper()
		if _, err := Parse("x.yaml", []byte(text)); (err == nil) != want {
			t.Errorf("decoder: %v", err)
		}
		if err := schema.Validate(asJSON(t, text)); (err == nil) != want {
			t.Errorf("schema: %v", err)
		}
	}
	t.Run("everything", func(t *testing.T) { check(t, everything, true) })
	room := strings.Replace(everything, "connect: [[a, b]]", "room: lobby", 1)
	t.Run("a room", func(t *testing.T) { check(t, room, true) })
	for _, tt := range []struct{ name, old, new string }{
		{"unknown key", "title:", "titel:"},
		{"no id", "id: ALL-1\n", ""},
		{"bad id", "id: ALL-1", "id: 'ALL 1'"},
		{"room and connect", "connect:", "room: lobby\nconnect:"},
		{"neither room nor connect", "connect: [[a, b]]\n", ""},
		{"a pair of three", "[[a, b]]", "[[a, b, a]]"},
		{"one peer", "peers: {a: {host: a}, b: {host: b}}", "peers: {a: {host: a}}"},
		{"unknown technique", "[plain]", "[magic]"},
		{"small payload", "size: 100", "size: 3"},
		{"zero scale", "scale: 2", "scale: 0"},
		{"keepalive as a number", "keepalive: 15s", "keepalive: 15"},
		{"interval without unit", "interval: 10ms", "interval: 10"},
		{"unknown action", "- unrestrict: b", "- unbind: b"},
		{"two actions in one", "- unrestrict: b", "- {unrestrict: b, cut: b}"},
		{"action without a key", "{from: a, count: 3}", "{from: a}"},
		{"a gap and an overlap", "gap: 300ms", "gap: 300ms, overlap: 1s"},
		{"no such direction", "direction: down", "direction: left"},
		{"two ways to flap", "down: 100ms, every: 1s", "down: 100ms, times: 3, every: 1s"},
		{"a timeline's entry with two events", "reboot: nat-a}", "reboot: nat-a, flush: nat-a}"},
		{"a timeline's entry without", ", reboot: nat-a}", "}"},
		{"too many flaps", "times: 3", "times: 1001"},
		{"unknown server", "stop: rendezvous", "stop: lobby"},
		{"unknown state", "{a: lost, b: kept}", "{a: gone, b: kept}"},
		{"unknown path", "{path: relay}", "{path: detour}"},
		{"control without why", "    why: because\n", ""},
		{"control action that needs peers", "      - cut: b\n", "      - send: {from: a, count: 1}\n"},
		{"expect and phases", "controls:", "expect: {path: direct}\ncontrols:"},
		{"bad NAT in a control", "nat-a: full-cone", "nat-a: fool-cone"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if strings.Count(everything, tt.old) < 1 {
				t.Fatalf("there is no %q", tt.old)
			}
			check(t, strings.Replace(everything, tt.old, tt.new, 1), false)
		})
	}
	t.Run("everything of a system", func(t *testing.T) { check(t, everySystem, true) })
	for _, tt := range []struct{ name, old, new string }{
		{"rendezvous and system", "system:\n", "rendezvous: b\nconnect: [[a, b]]\nsystem:\n"},
		{"no rooms", "rooms: {red: [a, b], blue: [c, d]}\n", ""},
		{"a room of one", "[c, d]}", "[c]}"},
		{"no agents", "  agents: [agent-1, agent-2]\n", ""},
		{"no engine", "engines: [engine]", "engines: []"},
		{"hasty clients", "every: 100ms", "every: 100"},
		{"a kill of nothing", "kill: {host: agent-1}", "kill: {}"},
		{"a kill of two", "kill: {host: agent-1}", "kill: {host: agent-1, shard: s1}"},
		{"a partition of one", "[[engine], [shard-1, shard-2]]", "[[engine]]"},
		{"no healing", "heal: true", "heal: false"},
		{"unknown fate of a room", "red: moved", "red: lost"},
		{"ports of no protocol", "tcp/443", "https"},
		{"load without a bound", "slowest: 5s, ", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if strings.Count(everySystem, tt.old) < 1 {
				t.Fatalf("there is no %q", tt.old)
			}
			check(t, strings.Replace(everySystem, tt.old, tt.new, 1), false)
		})
	}
}

// An object of the schema, with the place in a file where the decoder reads it,
// marked by HERE.
var places = []struct{ name, schema, file string }{
	{"scenario", "", "id: X\nHERE"},
	{"peer", "peers additionalProperties", "peers: {a: {HERE}}"},
	{"program", "programs additionalProperties", "programs: {p: {HERE}}"},
	{"readiness", "programs additionalProperties ready", "programs: {p: {ready: {HERE}}}"},
	{"how a program stops", "programs additionalProperties stop", "programs: {p: {stop: {HERE}}}"},
	{"delivery", "expect delivered items", "programs: {p: {}}\nexpect: {delivered: [{HERE}]}"},
	{"settings", "settings", "settings: {HERE}"},
	{"phase", "phases items", "phases: [{HERE}]"},
	{"expectation", "expect", "expect: {HERE}"},
	{"control", "controls items", "controls: [{HERE}]"},
	{"action", "phases items do items", "phases: [{do: [{HERE}]}]"},
	{"action before", "controls items before items", "controls: [{before: [{HERE}]}]"},
	{"move", "phases items do items move", "phases: [{do: [{move: {HERE}}]}]"},
	{"reboot", "phases items do items reboot anyOf 1", "phases: [{do: [{reboot: {HERE}}]}]"},
	{"swap", "phases items do items swap", "phases: [{do: [{swap: {HERE}}]}]"},
	{"flap", "phases items do items flap", "phases: [{do: [{flap: {HERE}}]}]"},
	{"restrict", "phases items do items restrict", "phases: [{do: [{restrict: {HERE}}]}]"},
	{"flush", "phases items do items flush anyOf 1", "phases: [{do: [{flush: {HERE}}]}]"},
	{"rebind", "phases items do items rebind anyOf 1", "phases: [{do: [{rebind: {HERE}}]}]"},
	{"cut", "phases items do items cut anyOf 1", "phases: [{do: [{cut: {HERE}}]}]"},
	{"restore", "phases items do items restore anyOf 1", "phases: [{do: [{restore: {HERE}}]}]"},
	{"blackhole", "phases items do items blackhole", "phases: [{do: [{blackhole: {HERE}}]}]"},
	{"impair", "phases items do items impair", "phases: [{do: [{impair: {HERE}}]}]"},
	{"partition", "phases items do items partition anyOf 1", "phases: [{do: [{partition: {HERE}}]}]"},
	{"unrestrict", "phases items do items unrestrict anyOf 1", "phases: [{do: [{unrestrict: {HERE}}]}]"},
	{"pause", "phases items do items pause anyOf 1", "phases: [{do: [{pause: {HERE}}]}]"},
	{"resume", "phases items do items resume anyOf 1", "phases: [{do: [{resume: {HERE}}]}]"},
	{"restarted program", "phases items do items restart anyOf 1 anyOf 1", "phases: [{do: [{restart: {HERE}}]}]"},
	{"killed program", "phases items do items kill anyOf 1 anyOf 1", "phases: [{do: [{kill: {HERE}}]}]"},
	{"timeline", "events items", "events: [{HERE}]"},
	{"timeline of a control", "controls items events items", "controls: [{events: [{HERE}]}]"},
	{"system", "system", "system: {HERE}"},
	{"shard", "system shards additionalProperties", "system: {shards: {s: {HERE}}}"},
	{"load", "load", "system: {}\nload: {HERE}"},
	{"kill", "phases items do items kill anyOf 0", "system: {}\nphases: [{do: [{kill: {HERE}}]}]"},
	{"start", "phases items do items start", "system: {}\nphases: [{do: [{start: {HERE}}]}]"},
	{"drain", "phases items do items drain", "system: {}\nphases: [{do: [{drain: {HERE}}]}]"},
	{"expected load", "expect load", "system: {}\nexpect: {load: {HERE}}"},
	{"scan", "expect scans items", "system: {}\nexpect: {scans: [{HERE}]}"},
	{"send", "phases items do items send", "phases: [{do: [{send: {HERE}}]}]"},
}

// A key that nobody knows makes the decoder say which it knows: those of the
// schema.
func TestSchemaHasTheKeysOfTheDecoder(t *testing.T) {
	text, err := json.Marshal(Schema())
	if err != nil {
		t.Fatal(err)
	}
	var whole map[string]any
	if err := json.Unmarshal(text, &whole); err != nil {
		t.Fatal(err)
	}
	known := regexp.MustCompile(`unknown key "qqqqqqqqqqqq"; known: (.*)`)
	const lab = "lab: {hosts: {h: {}}}\n"
	for _, p := range places {
		t.Run(p.name, func(t *testing.T) {
			at := whole
			var list []any // of alternatives, of which the next step is one
			for _, step := range strings.Fields(p.schema) {
				if i, err := strconv.Atoi(step); err == nil {
					at = list[i].(map[string]any)
					continue
				}
				if alternatives, are := at[step].([]any); are {
					list = alternatives
					continue
				}
				next, ok := at[step].(map[string]any)
				if !ok {
					next, ok = at["properties"].(map[string]any)[step].(map[string]any)
				}
				if !ok {
					t.Fatalf("the schema has no %q in %q", step, p.schema)
				}
				at = next
			}
			inSchema := slices.Sorted(maps.Keys(at["properties"].(map[string]any)))
			file := strings.Replace(p.file, "HERE", "qqqqqqqqqqqq: 1", 1)
			_, err := Parse("x.yaml", []byte(lab+file))
			if err == nil {
				t.Fatal("the decoder takes any key")
			}
			m := known.FindStringSubmatch(err.Error())
			if m == nil {
				t.Fatalf("the decoder does not say which keys it knows:\n%v", err)
			}
			inDecoder := strings.Split(m[1], ", ")
			slices.Sort(inDecoder)
			if !slices.Equal(inSchema, inDecoder) {
				t.Errorf("schema %v\ndecoder %v", inSchema, inDecoder)
			}
		})
	}
}

// TestRelays: several relays are named in a list, and actions say which one.
func TestRelays(t *testing.T) {
	const text = `id: R
title: r
lab: {hosts: {a: {}, b: {}, rv: {}, near: {}, far: {}}}
rendezvous: rv
relays: [near, far]
peers: {a: {host: a}, b: {host: b}}
connect: [[a, b]]
phases:
  - name: one dies
    do: [{stop: {relay: near}}, {restart: {relay: near}}, {stop: rendezvous}]
    expect: {path: direct}
`
	schema := compiled(t)
	for _, tt := range []struct{ name, old, new, want string }{
		{"as it is", "", "", ""},
		{"relay and relays", "relays:", "relay: near\nrelays:", "name all of them in relays"},
		{"one relay", "[near, far]", "[near]", "from 2 to 8 are several"},
		{"twice", "[near, far]", "[near, near]", "named twice"},
		{"beside the rendezvous", "[near, far]", "[near, rv]", "separate hosts"},
		{"under a peer", "[near, far]", "[near, b]", "b"},
		{"no host", "[near, far]", "[near, fur]", "far"},
		{"which one", "stop: {relay: near}", "stop: relay", "say which one"},
		{"another one", "stop: {relay: near}", "stop: {relay: a}", "near"},
		{"of one relay", "relays: [near, far]", "relay: near", "say stop: relay"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := text
			if tt.old != "" {
				text = strings.ReplaceAll(text, tt.old, tt.new)
			}
			sc, err := Parse("x.yaml", []byte(text))
			if tt.want == "" {
				if err != nil || !slices.Equal(sc.RelayHosts(), []string{"near", "far"}) || sc.RelayHost(sc.Phases[0].Actions[0].Target) != "near" {
					t.Errorf("%v: relays %v, the first action is about %q", err, sc.RelayHosts(), sc.Phases[0].Actions[0].Target)
				}
				if err := schema.Validate(asJSON(t, text)); err != nil {
					t.Errorf("schema: %v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q in it", err, tt.want)
			}
		})
	}
}
