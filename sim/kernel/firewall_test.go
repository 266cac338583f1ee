//go:build linux

package kernel_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"p2pmodel/sim"
	"p2pmodel/sim/kernel"
)

// captive is a hotel whose guests have to log in: a portal on a router without NAT,
// one with, and one behind which another NAT stands.
const captive = `
lab:
  routers:
    hotel: {nat: linux, firewall: "captive-portal,reject=out"}
    cafe: {firewall: "captive-portal,portal=1s"}
    carrier: {nat: symmetric, firewall: captive-portal}
    home: {nat: linux, behind: carrier}
  hosts:
    guest: {behind: hotel}
    other: {behind: hotel}
    reader: {behind: cafe}
    child: {behind: home}
    phone: {uplinks: {wifi: {behind: hotel}, 4g: {}}}
    server: {}
`

// browse gets a page from a host, without following redirects.
func browse(tb testing.TB, h *kernel.Host, method, url string) (status int, header http.Header, body string, err error) {
	tb.Helper()
	transport := &http.Transport{DialContext: h.Dial, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	client := http.Client{
		Transport: transport, Timeout: patient,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	request, err := http.NewRequestWithContext(tb.Context(), method, url, nil)
	if err != nil {
		tb.Fatal(err)
	}
	answer, err := client.Do(request)
	if err != nil {
		return 0, nil, "", err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return answer.StatusCode, answer.Header, string(text), err
}

func webServer(tb testing.TB, h *kernel.Host, says string) {
	tb.Helper()
	l, err := h.Listen(tb.Context(), "tcp4", ":80")
	if err != nil {
		tb.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, says) })}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	tb.Cleanup(func() { _ = server.Close(); <-done })
}

// Each guest is sent to the portal of its own router wherever it wants to go, logs
// in there, and is then where it wanted to be; others are not.
func TestCaptivePortals(t *testing.T) {
	n := stand(t, captive)
	server := host(t, n, "server")
	webServer(t, server, "the world")
	udpServer(t, server, 3478)
	world := "http://" + addressOf(n, "server").String() + "/news"
	for _, tt := range []struct {
		guest, router, gateway string
		refused                bool // told, not silent
	}{
		{"guest", "hotel", "192.168.1.1", true},
		{"reader", "cafe", n.Plan().External("cafe")[0].String(), false},
		{"child", "carrier", "100.64.0.1", false},
	} {
		h, r := host(t, n, tt.guest), router(t, n, tt.router)
		before, err := r.Fingerprint()
		if err != nil {
			t.Fatal(err)
		}
		status, header, _, err := browse(t, h, http.MethodGet, world)
		if page := "http://" + tt.gateway + "/"; err != nil || status != http.StatusFound || header.Get("Location") != page {
			t.Fatalf("%s is answered %d to %q, %v; want 302 to %s", tt.guest, status, header.Get("Location"), err, page)
		}
		if speaks(t, n, "udp4", tt.guest, "server", 3478, brief) {
			t.Errorf("%s speaks UDP before it logs in", tt.guest)
		}
		conn, err := h.Dial(t.Context(), "udp4", netip.AddrPortFrom(addressOf(n, "server"), 3478).String())
		if err == nil {
			err = converse(conn, brief)
			conn.Close()
		}
		if told := errors.Is(err, unix.EHOSTUNREACH); told != tt.refused {
			t.Errorf("%s hears %v; want that it is told: %v", tt.guest, err, tt.refused)
		}
		var state struct {
			Captive *bool
			Page    string `json:"user-portal-url"`
		}
		_, header, body, err := browse(t, h, http.MethodGet, "http://"+tt.gateway+"/api")
		if err != nil || header.Get("Content-Type") != "application/captive+json" || json.Unmarshal([]byte(body), &state) != nil ||
			state.Captive == nil || !*state.Captive || state.Page != "http://"+tt.gateway+"/" {
			t.Errorf("%s: the portal's API says %q, %v", tt.guest, body, err)
		}
		if _, _, body, err = browse(t, h, http.MethodGet, "http://"+tt.gateway+"/"); err != nil || !strings.Contains(body, `action="/login"`) {
			t.Errorf("%s: the portal's page has no way to log in: %v\n%s", tt.guest, err, body)
		}
		if err := r.Login(t.Context(), tt.guest); err != nil {
			t.Fatal(err)
		}
		if status, _, body, err = browse(t, h, http.MethodGet, world); err != nil || status != http.StatusOK || body != "the world" {
			t.Errorf("%s gets %d %q, %v after it has logged in\n%s", tt.guest, status, body, err, rules(t, r))
		}
		if !speaks(t, n, "udp4", tt.guest, "server", 3478, patient) {
			t.Errorf("%s speaks no UDP after it has logged in", tt.guest)
		}
		if _, _, body, err = browse(t, h, http.MethodGet, "http://"+tt.gateway+"/api"); err != nil || !strings.Contains(body, `"captive":false`) {
			t.Errorf("%s: the portal's API says %q, %v", tt.guest, body, err)
		}
		if after, err := r.Fingerprint(); err != nil || after != before {
			t.Errorf("%s: a login changed the fingerprint of its rules, %v", tt.router, err)
		}
		if counts, err := r.Firewall(); err != nil || counts.Captive == 0 || counts.Redirected == 0 {
			t.Errorf("%s counted %+v, %v", tt.router, counts, err)
		}
	}
	if speaks(t, n, "udp4", "other", "server", 3478, brief) {
		t.Error("who has not logged in speaks because another one has")
	}
	soon(t, "the session at the cafe ends", func() bool {
		admitted, err := router(t, n, "cafe").LoggedIn()
		return err == nil && len(admitted) == 0
	})
	if speaks(t, n, "udp4", "reader", "server", 3478, brief) {
		t.Error("the reader speaks though its session has ended")
	}
	if err := router(t, n, "hotel").Reboot(true); err != nil {
		t.Fatal(err)
	}
	if status, _, _, err := browse(t, host(t, n, "guest"), http.MethodGet, world); err != nil || status != http.StatusFound {
		t.Errorf("after a reboot the guest is answered %d, %v; want 302", status, err)
	}
	// The portal is nobody's outside.
	ctx, cancel := context.WithTimeout(t.Context(), brief)
	defer cancel()
	if conn, err := server.Dial(ctx, "tcp4", netip.AddrPortFrom(n.Plan().External("cafe")[0], 80).String()); err == nil {
		t.Errorf("somebody outside reaches the portal of the cafe at %v", conn.RemoteAddr())
		conn.Close()
	}
}

func rules(tb testing.TB, r interface{ Rules() (string, error) }) string {
	tb.Helper()
	text, err := r.Rules()
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

func TestLoginsThatCannotBe(t *testing.T) {
	n := stand(t, captive)
	for _, tt := range []struct{ router, host, want string }{
		{"hotel", "gust", `no host "gust"`},
		{"hotel", "reader", "it does not stand behind the router with its uplink uplink"},
		{"home", "child", "it has no firewall"},
	} {
		if err := router(t, n, tt.router).Login(t.Context(), tt.host); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s logs in at %s: %v, want %q", tt.host, tt.router, err, tt.want)
		}
	}
	phone := host(t, n, "phone")
	if err := errors.Join(router(t, n, "hotel").Login(t.Context(), "phone"), phone.Move("4g")); err != nil {
		t.Fatal(err)
	}
	if err := router(t, n, "hotel").Login(t.Context(), "phone"); err == nil || !strings.Contains(err.Error(), "with its uplink 4g") {
		t.Errorf("a phone that has left logs in: %v", err)
	}
	if _, err := router(t, n, "home").LoggedIn(); !errors.Is(err, kernel.ErrNoFirewall) {
		t.Errorf("who is logged in where nobody can: %v", err)
	}
	if _, err := phone.Firewall(); !errors.Is(err, kernel.ErrNoFirewall) {
		t.Errorf("the counts of a host without a firewall: %v", err)
	}
}

// The same by an event, which proves that it happened.
func TestLoginAsEvent(t *testing.T) {
	n := stand(t, captive)
	udpServer(t, host(t, n, "server"), 3478)
	d := sim.NewDirector(n)
	want(t, event(t, d, n, "login guest"), sim.Proved, "guest logged in at hotel")
	want(t, event(t, d, n, "login guest"), sim.Nothing, "where it was logged in already")
	want(t, event(t, d, n, "login host=reader router=cafe"), sim.Proved, "reader logged in at cafe")
	if !speaks(t, n, "udp4", "guest", "server", 3478, patient) {
		t.Error("who logged in by an event does not speak")
	}
	want(t, event(t, d, n, "reboot cafe"), sim.Proved, "1 logins at its portal are over")
	want(t, event(t, d, n, "reboot hotel new-address=true"), sim.Proved, "1 logins at its portal are over")
	if speaks(t, n, "udp4", "guest", "server", 3478, brief) {
		t.Error("the guest speaks after the portal has forgotten it")
	}
}

// A lab that is closed in the middle of a page leaves nothing: stand looks for it.
func TestPortalEndsWithItsLab(t *testing.T) {
	n := stand(t, captive)
	conn, err := host(t, n, "guest").Dial(t.Context(), "tcp4", netip.AddrPortFrom(addressOf(n, "server"), 80).String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	_ = conn.Close()
}

// guarded are hosts with firewalls of their own, on the Internet and behind a NAT.
const guarded = `
lab:
  routers:
    home: {nat: linux}
    work: {nat: symmetric}
  hosts:
    laptop:
      uplinks: {wifi: {behind: home}, cable: {behind: work}}
      firewall: {inbound: replies, udp: [3478], tcp: [443], reject: out}
    web: {firewall: {inbound: replies, reject: in, allow: [{tcp: [443]}, {from: admin, tcp: [22]}]}}
    admin: {}
    server: {}
`

// A host's own firewall is the same on all its uplinks, its programs hear of what
// it refuses, and a server's lets in whom its lists name.
func TestFirewallsOfHosts(t *testing.T) {
	n := stand(t, guarded)
	for _, name := range []string{"server", "web"} {
		for _, port := range []int{22, 443, 8080} {
			tcpServer(t, host(t, n, name), port)
		}
		for _, port := range []int{3478, 5000} {
			udpServer(t, host(t, n, name), port)
		}
	}
	laptop, web := host(t, n, "laptop"), host(t, n, "web")
	hears := func(network, from, to string, port uint16) error {
		conn, err := host(t, n, from).Dial(t.Context(), network, netip.AddrPortFrom(addressOf(n, to), port).String())
		if err != nil {
			return err
		}
		defer conn.Close()
		// What a host's own firewall refuses fails when it is sent.
		if err := converse(conn, patient); !errors.Is(err, unix.EPERM) {
			return err
		}
		_ = conn.SetReadDeadline(time.Now().Add(patient))
		_, err = conn.Read(make([]byte, 5))
		return err
	}
	before, err := laptop.Fingerprint()
	if err != nil {
		t.Fatal(err)
	}
	for _, uplink := range []string{"wifi", "cable"} {
		if err := laptop.Move(uplink); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			network string
			port    uint16
			want    error
		}{
			{"udp4", 3478, nil}, {"tcp4", 443, nil},
			{"udp4", 5000, unix.EHOSTUNREACH}, {"tcp4", 8080, unix.EHOSTUNREACH},
		} {
			if err := hears(c.network, "laptop", "server", c.port); !errors.Is(err, c.want) {
				t.Errorf("on %s, %s to port %d: %v, want %v\n%s", uplink, c.network, c.port, err, c.want, rules(t, laptop))
			}
		}
	}
	if after, err := laptop.Fingerprint(); err != nil || after != before {
		t.Errorf("the rules of the laptop are others after it moved: %v", err)
	}
	for _, c := range []struct {
		network, from string
		port          uint16
		want          error
	}{
		{"tcp4", "server", 443, nil}, {"tcp4", "laptop", 443, nil}, {"tcp4", "admin", 22, nil},
		{"tcp4", "server", 22, unix.EHOSTUNREACH}, {"udp4", "admin", 3478, unix.EHOSTUNREACH}, {"udp4", "laptop", 3478, unix.EHOSTUNREACH},
	} {
		if err := hears(c.network, c.from, "web", c.port); !errors.Is(err, c.want) {
			t.Errorf("%s from %s to port %d of web: %v, want %v\n%s", c.network, c.from, c.port, err, c.want, rules(t, web))
		}
	}
	if err := hears("udp4", "web", "server", 5000); err != nil {
		t.Errorf("the web server may begin what it likes: %v", err)
	}
	counts, err := web.Firewall()
	if err != nil {
		t.Fatal(err)
	}
	var began []string
	for _, r := range counts.Rules {
		began = append(began, fmt.Sprintf("%s %s: %d", r.List, sim.DescribeRule(r.Rule), r.Began))
	}
	if got, want := strings.Join(began, "; "), "allow any → any TCP 443: 2; allow admin → any TCP 22: 1"; got != want || counts.Entering == 0 {
		t.Errorf("the firewall of web let begin: %s, and counted %+v; want %s", got, counts, want)
	}
	if counts, err := laptop.Firewall(); err != nil || counts.Leaving == 0 {
		t.Errorf("the firewall of the laptop counted %+v, %v", counts, err)
	}
}

// What a router in front refuses, the host behind a NAT hears: the error passes
// the NAT.
func TestRefusalsPassNATs(t *testing.T) {
	n := stand(t, `
lab:
  routers:
    office: {firewall: {preset: tcp-443-only, reject: both, tcp-reject: reset}}
    home: {nat: port-restricted-cone, behind: office}
    inner: {nat: symmetric, behind: home}
  hosts:
    deep: {behind: inner}
    server: {}
`)
	tcpServer(t, host(t, n, "server"), 443)
	if !speaks(t, n, "tcp4", "deep", "server", 443, patient) {
		t.Error("TCP to port 443 does not pass")
	}
	for network, want := range map[string]error{"tcp4": unix.ECONNREFUSED, "udp4": unix.EHOSTUNREACH} {
		conn, err := host(t, n, "deep").Dial(t.Context(), network, netip.AddrPortFrom(addressOf(n, "server"), 53).String())
		if err == nil {
			err = converse(conn, patient)
			conn.Close()
		}
		if !errors.Is(err, want) {
			t.Errorf("%s to port 53: %v, want %v", network, err, want)
		}
	}
}
