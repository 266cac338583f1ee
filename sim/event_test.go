package sim_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"p2pmodel/nat"
	"p2pmodel/sim"
	"p2pmodel/sim/link"
)

const eventLab = `
lab:
  routers: {nat-i: {nat: symmetric}, wall: {firewall: stateful}, hotel: {firewall: captive-portal}, plain: {}}
  hosts:
    i: {behind: nat-i}
    phone: {uplinks: {wifi: {behind: nat-i}, 4g: {}}}
    relay: {}
    guest: {behind: hotel}
  links: {nat-i: {delay: 5ms}}
`

func labOfEvents(t testing.TB) *sim.Lab {
	t.Helper()
	lab, err := sim.ParseLab("lab.yaml", []byte(eventLab))
	if err != nil {
		t.Fatal(err)
	}
	return lab
}

// A line, the event that it is, and the line that is written for it.
func TestEventText(t *testing.T) {
	lab := labOfEvents(t)
	natI := sim.LinkID{Node: "nat-i", Uplink: sim.DefaultUplink}
	symmetric, err := nat.PresetNamed("symmetric")
	if err != nil {
		t.Fatal(err)
	}
	slow := link.Impairment{Delay: 40 * time.Millisecond}
	lossy := slow
	lossy.Loss = 0.02
	for _, test := range []struct {
		line string
		want sim.Event
		back string // "": the line itself
	}{
		{"reboot router=nat-i new-address=true", sim.Event{Kind: sim.EventReboot, Router: "nat-i", NewAddress: true}, ""},
		{"reboot nat-i", sim.Event{Kind: sim.EventReboot, Router: "nat-i"}, "reboot router=nat-i"},
		{"flush router=nat-i", sim.Event{Kind: sim.EventFlush, Router: "nat-i"}, ""},
		{"swap router=nat-i nat=symmetric", sim.Event{Kind: sim.EventSwap, Router: "nat-i", NAT: symmetric.Behavior, Preset: "symmetric"}, ""},
		{"rebind router=nat-i host=i", sim.Event{Kind: sim.EventRebind, Router: "nat-i", Host: "i"}, ""},
		{"move host=phone uplink=4g gap=300ms", sim.Event{Kind: sim.EventMove, Host: "phone", Uplink: "4g", Gap: 300 * time.Millisecond}, ""},
		{"move host=phone uplink=4g overlap=200ms", sim.Event{Kind: sim.EventMove, Host: "phone", Uplink: "4g", Overlap: 200 * time.Millisecond}, ""},
		{"cut nat-i for=2s", sim.Event{Kind: sim.EventCut, Link: natI, For: 2 * time.Second}, "cut link=nat-i for=2s"},
		{"cut phone/4g", sim.Event{Kind: sim.EventCut, Link: sim.LinkID{Node: "phone", Uplink: "4g"}}, "cut link=phone/4g"},
		{"flap link=nat-i times=3 down=1s up=2s", sim.Event{Kind: sim.EventFlap, Link: natI, Times: 3, Down: time.Second, Up: 2 * time.Second}, ""},
		{"flap link=nat-i down=1s every=5s for=1m", sim.Event{Kind: sim.EventFlap, Link: natI, Down: time.Second, Every: 5 * time.Second, For: time.Minute}, "flap link=nat-i down=1s every=5s for=1m0s"},
		{"blackhole link=i direction=down", sim.Event{Kind: sim.EventBlackhole, Link: sim.LinkID{Node: "i", Uplink: sim.DefaultUplink}, Direction: sim.Down}, ""},
		{"impair link=nat-i delay=40ms", sim.Event{Kind: sim.EventImpair, Link: natI, Impairments: sim.Impairments{Up: slow, Down: slow}}, ""},
		{"impair link=nat-i delay=40ms down={loss: 2%}", sim.Event{Kind: sim.EventImpair, Link: natI, Impairments: sim.Impairments{Up: slow, Down: lossy}},
			"impair link=nat-i up={delay: 40ms} down={delay: 40ms, loss: 2%}"},
		{"impair link=nat-i profile=4g", fromProfile(t, natI, "4g"), fromProfile(t, natI, "4g").String()},
		{"partition i,relay|phone for=1s", sim.Event{Kind: sim.EventPartition, Groups: [][]string{{"i", "relay"}, {"phone"}}, For: time.Second}, "partition groups=i,relay|phone for=1s"},
		{"partition [[i], [phone]]", sim.Event{Kind: sim.EventPartition, Groups: [][]string{{"i"}, {"phone"}}}, "partition groups=i|phone"},
		{"heal", sim.Event{Kind: sim.EventHeal}, ""},
		{"restrict host=i to=relay,phone", sim.Event{Kind: sim.EventRestrict, Host: "i", To: []string{"relay", "phone"}}, ""},
		{"restrict host=i to=", sim.Event{Kind: sim.EventRestrict, Host: "i", To: []string{}}, ""},
		{"login guest", sim.Event{Kind: sim.EventLogin, Host: "guest"}, "login host=guest"},
		{"login host=guest router=hotel", sim.Event{Kind: sim.EventLogin, Host: "guest", Router: "hotel"}, "login router=hotel host=guest"},
		{"reboot router=hotel", sim.Event{Kind: sim.EventReboot, Router: "hotel"}, ""},
		{"unrestrict i", sim.Event{Kind: sim.EventUnrestrict, Host: "i"}, "unrestrict host=i"},
		{"pause iperf3 host=i for=1s", sim.Event{Kind: sim.EventPause, Program: "iperf3", Host: "i", For: time.Second}, "pause program=iperf3 host=i for=1s"},
		{"kill host=i", sim.Event{Kind: sim.EventKill, Host: "i"}, ""},
		{"inject host=relay for=2s", sim.Event{Kind: sim.EventInject, Host: "relay", For: 2 * time.Second}, ""},
		{"inject host=relay every=5ms for=2s seed=7", sim.Event{Kind: sim.EventInject, Host: "relay", Every: 5 * time.Millisecond, For: 2 * time.Second, Seed: 7}, ""},
		{"wait 5s", sim.Event{Kind: sim.EventWait, For: 5 * time.Second}, "wait for=5s"},
	} {
		got, err := sim.ParseEventText(lab, test.line)
		if err != nil {
			t.Errorf("%s: %v", test.line, err)
			continue
		}
		if !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s is read as %+v, want %+v", test.line, got, test.want)
		}
		if test.back == "" {
			test.back = test.line
		}
		if got.String() != test.back {
			t.Errorf("%s is written %s, want %s", test.line, got, test.back)
		}
		// Files, and so reports, have the same form.
		data, err := json.Marshal(got)
		if err != nil {
			t.Errorf("%s: %v", test.line, err)
			continue
		}
		var back sim.Event
		if err := json.Unmarshal(data, &back); err != nil || !reflect.DeepEqual(back, got) {
			t.Errorf("%s: %s is read as %+v, %v", test.line, data, back, err)
		}
	}
}

// fromProfile is an event that gives a link what a profile says.
func fromProfile(t *testing.T, id sim.LinkID, name string) sim.Event {
	t.Helper()
	p, ok := link.ProfileNamed(name)
	if !ok {
		t.Fatalf("no profile %q; there are %v", name, link.ProfileNames())
	}
	return sim.Event{Kind: sim.EventImpair, Link: id, Impairments: sim.Impairments{Up: p.Up, Down: p.Down}}
}

func TestEventErrors(t *testing.T) {
	lab := labOfEvents(t)
	for line, want := range map[string]string{
		"":                                 "no event; known: reboot",
		"rebot nat-i":                      `unknown event "rebot"; did you mean "reboot"?`,
		"reboot nat-1":                     `unknown router "nat-1"; did you mean "nat-i"?`,
		"reboot plain":                     "router plain has no NAT",
		"reboot wall new-address=true":     "router wall has no NAT",
		"flush wall":                       "router wall has no NAT",
		"login gust":                       `unknown host "gust"; did you mean "guest"?`,
		"login i":                          "no router in front of host i has a captive portal",
		"login guest router=wall":          "host guest does not stand behind a captive portal of router wall",
		"login guest router=hotl":          `unknown router "hotl"; did you mean "hotel"?`,
		"reboot":                           `"router" is missing` + "\nusage: reboot [router=]ROUTER new-address=true|false",
		"reboot router=nat-i new-adress=1": `unknown key "new-adress"; did you mean "new-address"?`,
		"partition phone|i,phone":          "host phone is in two groups",
		"impair link=phone/4g delay=4":     "got \"4\"\nusage: `natlab event --help`",
		"reboot nat-i new-address=maybe":   "want true or false",
		"reboot nat-i nat-i":               `"nat-i" has no key`,
		"reboot nat-i router=nat-i":        `"router" is here twice`,
		"rebind nat-i host=relay":          "host relay does not stand behind router nat-i",
		"move host=phone uplink=5g":        `unknown uplink of phone "5g"; did you mean "4g"?`,
		"move host=phone uplink=4g gap=x":  "want a duration",
		"move host=phone uplink=4g gap=1s overlap=1s": "not with both",
		"cut phone":       `unknown link "phone"`,
		"flap link=nat-i": `"down" is missing; "times" is missing`,
		"flap link=nat-i down=5s every=5s for=1m": "never up",
		"blackhole link=i direction=left":         `unknown direction "left"`,
		"blackhole link=i":                        `"direction" is missing`,
		"impair link=i delay=1s":                  "the lab does not declare it",
		"impair link=nat-i loss=200%":             "want a probability",
		"partition i":                             "at least two groups",
		"partition i|rely":                        `unknown host "rely"; did you mean "relay"?`,
		"heal now":                                `"now" is too much`,
		"restrict host=i":                         `"to" is missing`,
		"pause":                                   "say which programs",
		"inject host=relay":                       `"for" is missing`,
		"inject host=relay for=1s every=1us":      "shorter than 1ms",
		"wait 25h":                                "is not between 0 and 24h0m0s",
		"cut [nat-i":                              "not closed",
	} {
		_, err := sim.ParseEventText(lab, line)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one with %q", line, err, want)
		}
	}
}

// What a person is told to write is right, and each kind is explained.
func TestEventUsage(t *testing.T) {
	for i, usage := range sim.EventUsage() {
		kind := sim.EventKinds()[i]
		if !strings.HasPrefix(usage, string(kind)) || sim.EventHelp(kind) == "" {
			t.Errorf("%s: usage %q, help %q", kind, usage, sim.EventHelp(kind))
		}
		if strings.Contains(usage, "= ") || strings.HasSuffix(usage, "=") {
			t.Errorf("%s: a key has no example: %s", kind, usage)
		}
	}
	if !slices.Contains(sim.EventKinds(), sim.EventRebind) {
		t.Error("rebind is no kind")
	}
}

func FuzzEventText(f *testing.F) {
	lab := labOfEvents(f)
	for _, seed := range []string{"reboot nat-i", "impair link=nat-i up={delay: 1ms}", "partition i|relay", "restrict host=i to=[relay]", "swap router=nat-i nat=mapping=EIM"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		e, err := sim.ParseEventText(lab, line)
		if err != nil {
			return
		}
		if err := e.Validate(lab); err != nil {
			t.Errorf("%q is read as an event that is not valid: %v", line, err)
		}
		back, err := sim.ParseEventText(lab, e.String())
		if err != nil || !reflect.DeepEqual(back, e) {
			t.Errorf("%q is written %q, which is read as %+v, %v", line, e, back, err)
		}
	})
}
