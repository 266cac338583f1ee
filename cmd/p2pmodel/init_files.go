package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"p2pmodel/core/identity"
	"p2pmodel/core/shard/engine/layout"
	"p2pmodel/core/ticket"
)

// layoutFiles are files below the folder of a layout, by name, with slashes.
type layoutFiles map[string]layout.File

func (l layoutFiles) names() []string { return slices.Sorted(maps.Keys(l)) }

func (l layoutFiles) put(name string, data []byte, secret bool) {
	l[name] = layout.File{Data: data, Secret: secret}
}

// readLayout reads what was made before, if anything was.
func readLayout(dir string) (layoutFiles, error) {
	have := layoutFiles{}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return have, nil
	}
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		files, err := os.ReadDir(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			if !file.Type().IsRegular() {
				continue
			}
			data, err := os.ReadFile(filepath.Join(dir, e.Name(), file.Name()))
			if err != nil {
				return nil, err
			}
			have.put(e.Name()+"/"+file.Name(), data, false)
		}
	}
	if len(entries) > 0 && len(have) == 0 {
		return nil, fmt.Errorf("%s has things in it that are no layout: give another folder", dir)
	}
	return have, nil
}

// files makes all files of the plan. Package layout has folders for nodes and for
// users; here each process has one.
func (p *initPlan) files(have layoutFiles, now time.Time) (layoutFiles, error) {
	if err := p.shareRelayPorts(); err != nil {
		return nil, err
	}
	before := layout.Files{}
	for name, file := range have {
		before[name] = file // offline/…
		before["nodes/"+name], before["users/"+name] = file, file
	}
	made, err := p.layout.Files(before, now)
	if err != nil {
		return nil, err
	}
	files := layoutFiles{}
	for name, file := range made {
		name = strings.TrimPrefix(strings.TrimPrefix(name, "nodes/"), "users/")
		files[name] = file
	}
	m := &layoutMaker{plan: p, have: have, made: files, now: now}
	m.login()
	m.processes()
	return files, errors.Join(m.problems...)
}

// layoutMaker adds what is not the engine's.
type layoutMaker struct {
	plan     *initPlan
	have     layoutFiles
	made     layoutFiles
	now      time.Time
	problems []error
}

func (m *layoutMaker) fail(what string, err error) {
	if err != nil {
		m.problems = append(m.problems, fmt.Errorf("%s: %w", what, err))
	}
}

// keep gives a secret file that was made before, or makes it.
func (m *layoutMaker) keep(name string, fresh func() ([]byte, error)) []byte {
	data := m.have[name].Data
	if len(data) == 0 {
		var err error
		data, err = fresh()
		m.fail(name, err)
	}
	m.made.put(name, data, true)
	return data
}

// login makes the key that signs login tokens, and the authority of what clients
// see. Agents get neither.
func (m *layoutMaker) login() {
	private := m.keep("offline/login.key", newLoginKey)
	public, err := publicLoginKey(private)
	m.fail("offline/login.key", err)
	m.made.put("offline/login.pub", public, false)

	authority := layout.Pair{Cert: m.have["offline/clients-ca.crt"].Data, Key: m.have["offline/clients-ca.key"].Data}
	if len(authority.Cert) == 0 {
		authority, err = layout.NewAuthority(m.plan.flags.cluster+" clients", m.now)
		m.fail("offline/clients-ca", err)
	}
	m.made.put("offline/clients-ca.crt", authority.Cert, false)
	m.made.put("offline/clients-ca.key", authority.Key, true)
	m.made.put("clients-ca.crt", authority.Cert, false)
	for _, name := range m.plan.agents {
		dir := layout.AgentUser(name)
		m.made.put(dir+"/login.pub", public, false)
		cert, key := m.have[dir+"/agent.crt"].Data, m.have[dir+"/agent.key"].Data
		if len(key) == 0 || !suitsPEM(cert, m.plan.at[dir], m.now.Add(layout.CertificateLife/3)) {
			pair, err := authority.Issue(dir, m.plan.at[dir], layout.Usage{Server: true}, m.now)
			m.fail(dir, err)
			cert, key = append(pair.Cert, authority.Cert...), pair.Key
		}
		m.made.put(dir+"/agent.crt", cert, false)
		m.made.put(dir+"/agent.key", key, true)
	}
}

// processes writes a configuration for each process.
func (m *layoutMaker) processes() {
	p := m.plan
	for _, n := range p.layout.Nodes {
		m.write(n.Name, "engine", setting{"nats-config-file", "nats.conf"})
	}
	for n := range p.flags.directories {
		m.write(layout.DirectoryUser(n), "directory", append(m.engine(),
			setting{"index", n}, setting{"members", p.flags.directories}, setting{"replicas", p.layout.Replicas()})...)
	}
	for _, name := range p.shards {
		m.shard(name)
	}
	for _, name := range p.agents {
		m.write(layout.AgentUser(name), "agent", append(m.engine(),
			setting{"name", name}, setting{"listen", p.agentAt[name]},
			setting{"tls-cert-file", "agent.crt"}, setting{"tls-key-file", "agent.key"}, setting{"login-keys-file", "login.pub"})...)
	}
	for _, name := range p.flags.operators {
		m.write(layout.OperatorUser(name), "operator", append(m.engine(), setting{"operator", name})...)
	}
}

// engine are the settings of who connects to the engine.
func (m *layoutMaker) engine() []setting {
	return []setting{
		{"engine", m.plan.engines}, {"engine-seed-file", "user.nk"}, {"engine-ca-file", "ca.crt"},
		{"engine-cert-file", "tls.crt"}, {"engine-key-file", "tls.key"},
	}
}

// shard writes what a shard needs, and its UDP servers where those are processes
// of their own: a rendezvous gets no key that signs, a relay only its secret.
func (m *layoutMaker) shard(name string) {
	u, dir := m.plan.udp[name], layout.ShardUser(name)
	settings := append(m.engine(), setting{"name", name}, setting{"ticket-key-file", "ticket.key"}, setting{"relay-secret-file", "relay.secret"})
	signer, err := ticket.ReadSignerKey(m.keep(dir+"/ticket.key", newTicketKey))
	if err != nil {
		m.fail(dir+"/ticket.key", err)
		return
	}
	secret := m.keep(dir+"/relay.secret", newSecret)
	if u.ownRendezvous {
		meeting := "rendezvous-" + name
		key, err := identity.ParseKey(string(m.keep(meeting+"/rendezvous.key", newPeerKey)))
		m.fail(meeting+"/rendezvous.key", err)
		m.made.put(meeting+"/ticket.pub", []byte(ticket.FormatPublicKey(signer.Public())+"\n"), false)
		m.write(meeting, "rendezvous", setting{"listen", u.rendezvous}, setting{"key-file", "rendezvous.key"}, setting{"ticket-keys", "ticket.pub"})
		settings = append(settings, setting{"rendezvous", u.rendezvous}, setting{"rendezvous-key", key.ID()})
	} else {
		m.keep(dir+"/rendezvous.key", newPeerKey)
		settings = append(settings, setting{"rendezvous-listen", u.rendezvous}, setting{"rendezvous-key-file", "rendezvous.key"})
	}
	if u.ownRelay {
		way := "relay-" + name
		m.made.put(way+"/relay.secret", secret, true)
		m.write(way, "relay", setting{"listen", u.relay}, setting{"relay-address", u.relay.Addr()}, setting{"ports", u.ports()},
			setting{"secret-file", "relay.secret"}, setting{"allow-peer", m.plan.allowed(u)})
		settings = append(settings, setting{"relay", u.relay})
	} else {
		settings = append(settings, setting{"relay-listen", u.relay}, setting{"relay-ports", u.ports()}, setting{"allow-peer", m.plan.allowed(u)})
	}
	m.write(dir, "shard", settings...)
}

// setting is a flag with its value.
type setting struct {
	flag  string
	value any
}

// write writes the configuration of a process.
func (m *layoutMaker) write(process, command string, settings ...setting) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# %s, made by p2pmodel init; what is changed here is lost when that runs again.\n", process)
	if listen := m.plan.metrics[process]; listen != "" {
		settings = append(settings, setting{"metrics-listen", listen})
	}
	for _, s := range settings {
		switch v := s.value.(type) {
		case int:
			fmt.Fprintf(&b, "%s: %d\n", s.flag, v)
		case []string:
			quoted := make([]string, len(v))
			for i := range v {
				quoted[i] = strconv.Quote(v[i])
			}
			fmt.Fprintf(&b, "%s: [%s]\n", s.flag, strings.Join(quoted, ", "))
		default:
			fmt.Fprintf(&b, "%s: %q\n", s.flag, fmt.Sprint(v))
		}
	}
	m.made.put(process+"/"+command+".yaml", b.Bytes(), false)
}

func newTicketKey() ([]byte, error) {
	seed := make([]byte, 32)
	rand.Read(seed)
	signer, err := ticket.NewSigner(seed)
	if err != nil {
		return nil, err
	}
	return []byte(signer.Secret() + "\n"), nil
}

func newSecret() ([]byte, error) { return []byte(rand.Text() + rand.Text() + "\n"), nil }

func newPeerKey() ([]byte, error) {
	key, err := identity.NewKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	return []byte(key.Secret() + "\n"), nil
}
