package virtual_test

import (
	"strings"
	"testing"
	"time"

	"p2pmodel/sim"
)

const hotel = `
lab:
  routers:
    hotel: {nat: port-restricted-cone, firewall: {preset: captive-portal, portal: 10m}}
    room: {nat: symmetric, behind: hotel}
    home: {nat: full-cone}
    plain: {firewall: open}
  hosts:
    guest: {behind: hotel}
    other: {behind: hotel}
    travel: {behind: room}
    friend: {behind: home}
    desk: {behind: plain}
    server: {}
  links:
    guest: {delay: 5ms}
    travel: {delay: 10ms}
    other: {delay: 5ms, loss: 100%}
`

func TestLoginsAtAPortal(t *testing.T) {
	n := stand(t, hotel, sim.Options{Seed: 1})
	d := sim.NewDirector(n)
	echo := server(t, n, "server")
	guest, travel := client(t, n, "guest"), client(t, n, "travel")
	portal := routerOf(t, n, "hotel")
	if guest.ask(echo) != "" {
		t.Fatal("a guest who is not logged in gets out")
	}
	if c, err := portal.Firewall(); err != nil || c.Captive != 1 {
		t.Errorf("the portal has counted %+v (%v)", c, err)
	}
	began := n.Now()
	want(t, event(t, d, n, "login guest"), sim.Proved, "guest logged in at hotel")
	// Two round trips over 5 ms: the handshake, the request and its answer.
	if took := n.Now().Sub(began); took < 20*time.Millisecond || took > 22*time.Millisecond {
		t.Errorf("the login took %v", took)
	}
	guest.seen(echo)
	admitted, err := portal.LoggedIn()
	if left := admitted[n.Plan().Addresses("guest", sim.DefaultUplink)[0]]; err != nil || len(admitted) != 1 || left < 9*time.Minute || left > 10*time.Minute {
		t.Errorf("logged in are %v (%v)", admitted, err)
	}
	// Who stands behind another NAT is known by that one's address.
	if travel.ask(echo) != "" {
		t.Error("another guest's login lets out those of another room")
	}
	want(t, event(t, d, n, "login travel"), sim.Proved, "travel logged in at hotel")
	travel.seen(echo)
	if admitted, err := portal.LoggedIn(); err != nil || len(admitted) != 2 || admitted[routerOf(t, n, "room").External()[0]] == 0 {
		t.Errorf("logged in are %v (%v)", admitted, err)
	}
	// It ends with its time, and with a reboot.
	pass(t, n, 10*time.Minute)
	if guest.ask(echo) != "" {
		t.Error("a session outlives its time")
	}
	want(t, event(t, d, n, "login guest"), sim.Proved, "")
	guest.seen(echo)
	want(t, event(t, d, n, "login guest"), sim.Proved, "") // anew, for as long again
	if err := portal.Reboot(false); err != nil {
		t.Fatal(err)
	}
	if guest.ask(echo) != "" {
		t.Error("a session outlives a reboot")
	}
	// The portal answers port 80 in the place of others, which no machine asks.
	if c, err := portal.Firewall(); err != nil || c.Redirected != 0 {
		t.Errorf("the portal has counted %+v (%v)", c, err)
	}
}

func TestLoginsThatCannotBe(t *testing.T) {
	n := stand(t, hotel, sim.Options{Seed: 1})
	for _, c := range []struct{ router, host, want string }{
		{"hotel", "nobody", `no host "nobody"`},
		{"hotel", "friend", "does not stand behind the router"},
		{"home", "friend", "has no firewall"},
		{"plain", "desk", "has no captive portal"},
		{"hotel", "other", "did not answer within 10s"},
	} {
		if err := routerOf(t, n, c.router).Login(t.Context(), c.host); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s at %s: %v, want %q", c.host, c.router, err, c.want)
		}
	}
	for _, name := range []string{"home", "plain"} {
		if _, err := routerOf(t, n, name).LoggedIn(); err == nil {
			t.Errorf("%s tells who is logged in", name)
		}
	}
}
