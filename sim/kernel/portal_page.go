//go:build linux

package kernel

import (
	"encoding/json"
	"html/template"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// The paths of a portal, at the router's own address.
const (
	portalPage  = "/"      // for people
	portalLogin = "/login" // GET or POST: logs the sender's address in
	portalAPI   = "/api"   // RFC 8908
)

var portalTemplate = template.Must(template.New("portal").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{{.Router}}</title>
<h1>{{.Router}}</h1>
{{if .LoggedIn}}<p>{{.Client}} is logged in{{if .Left}} for {{.Left}}{{end}}.</p>
{{else}}<p>{{.Client}} has to log in before it can use this network.</p>
<form method="post" action="/login"><button>Log in</button></form>
{{end}}</html>
`))

// handler answers at the router's own address, and redirects everything that was
// meant for others there.
func (p *portal) handler() http.Handler {
	own := http.NewServeMux()
	own.HandleFunc("GET "+portalPage+"{$}", p.page)
	own.HandleFunc("GET "+portalAPI, p.api)
	own.HandleFunc("GET "+portalLogin, p.login)
	own.HandleFunc("POST "+portalLogin, p.login)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		asked, _ := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
		if asked != nil && asked.AddrPort().Addr().Unmap() == p.gateway {
			own.ServeHTTP(w, r)
			return
		}
		http.Redirect(w, r, p.url(portalPage), http.StatusFound)
	})
}

func (p *portal) url(path string) string { return "http://" + p.gateway.String() + path }

// client is who asks.
func client(r *http.Request) netip.Addr {
	from, _ := netip.ParseAddrPort(r.RemoteAddr) // the server's own text
	return from.Addr().Unmap()
}

func (p *portal) page(w http.ResponseWriter, r *http.Request) {
	left, in, err := p.session(client(r))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = portalTemplate.Execute(w, struct { // fails for clients that went away
		Router   string
		Client   netip.Addr
		LoggedIn bool
		Left     time.Duration
	}{p.router.lab.Name, client(r), in, left.Round(time.Second)})
}

func (p *portal) login(w http.ResponseWriter, r *http.Request) {
	if err := p.admit(client(r)); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	p.page(w, r)
}

// api is the captive portal API of RFC 8908 section 5, without the TLS that it
// asks for: a lab has no names, and nobody who signs certificates.
func (p *portal) api(w http.ResponseWriter, r *http.Request) {
	left, in, err := p.session(client(r))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/captive+json")
	_ = json.NewEncoder(w).Encode(struct {
		Captive bool   `json:"captive"`
		Page    string `json:"user-portal-url"`
		Left    int    `json:"seconds-remaining,omitempty"`
	}{!in, p.url(portalPage), int(left.Seconds())})
}

// session tells whether an address is logged in, and for how long; 0: for good.
func (p *portal) session(addr netip.Addr) (left time.Duration, in bool, err error) {
	admitted, err := p.router.LoggedIn()
	left, in = admitted[addr]
	return left, in, err
}
