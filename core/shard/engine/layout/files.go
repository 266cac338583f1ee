package layout

import (
	"errors"
	"fmt"
	"path"
	"time"

	"github.com/nats-io/nkeys"
)

// File is one of a layout's.
type File struct {
	Data []byte
	// Secret: only its owner may read it.
	Secret bool
}

// Files are all of a layout by name, with slashes. A folder holds what one machine
// or user gets:
//
//	nodes/NAME/   nats.conf, tls.crt, tls.key, ca.crt; in a cluster cluster.crt,
//	              cluster.key, cluster-ca.crt: to Node.Dir of its machine
//	users/NAME/   user.nk, tls.crt, tls.key, ca.crt: to where that server runs
//	offline/      the authorities' keys, and users' public keys: nowhere; keep it
type Files map[string]File

// Files makes what a layout needs. Have gives files that were made before (nil:
// none); of them keys stay, and certificates until a third of their life is left.
// So it is run again when a shard, an Agent or a node is added, and to renew
// certificates; then the new files go to the machines, and a reload (nodes) or the
// next connection (users) uses them.
func (l Layout) Files(have Files, now time.Time) (Files, error) {
	if err := l.Check(); err != nil {
		return nil, err
	}
	m := maker{have: have, made: Files{}, now: now}
	engine := m.authority("offline/engine-ca", l.Cluster+" engine")
	public := map[string]string{}
	for _, user := range l.Users() {
		public[user] = m.user(user)
		m.certificate("users/"+user+"/tls", engine, user, nil, Usage{Client: true})
		m.put("users/"+user+"/ca.crt", engine.Cert, false)
	}
	var cluster Pair
	if len(l.Nodes) > 1 {
		cluster = m.authority("offline/cluster-ca", l.Cluster+" cluster")
	}
	for _, n := range l.Nodes {
		n = n.normal()
		dir := path.Join("nodes", n.Name)
		m.certificate(dir+"/tls", engine, n.Name, n.Names, Usage{Server: true})
		m.put(dir+"/ca.crt", engine.Cert, false)
		if len(l.Nodes) > 1 {
			// An authority of its own: no certificate of a client makes a node.
			m.certificate(dir+"/cluster", cluster, n.Name, n.Names, Usage{Server: true, Client: true})
			m.put(dir+"/cluster-ca.crt", cluster.Cert, false)
		}
		m.put(dir+"/nats.conf", []byte(l.nodeConfig(n, public)), false)
	}
	if len(m.problems) > 0 {
		return nil, errors.Join(m.problems...)
	}
	return m.made, nil
}

func (n Node) normal() Node {
	if n.Dir == "" {
		n.Dir = DefaultDir
	}
	if n.Store == "" {
		n.Store = DefaultStore
	}
	return n
}

// maker makes files, or takes those that were made before.
type maker struct {
	have, made Files
	now        time.Time
	problems   []error
}

func (m *maker) put(name string, data []byte, secret bool) {
	m.made[name] = File{Data: data, Secret: secret}
}

func (m *maker) fail(what string, err error) {
	m.problems = append(m.problems, fmt.Errorf("%s: %w", what, err))
}

func (m *maker) pair(name string) Pair {
	return Pair{Cert: m.have[name+".crt"].Data, Key: m.have[name+".key"].Data}
}

func (m *maker) keep(name string, p Pair) {
	m.put(name+".crt", p.Cert, false)
	m.put(name+".key", p.Key, true)
}

// authority gives the authority of a name. One whose key was taken away cannot be
// replaced by a new one, which nobody would know.
func (m *maker) authority(name, common string) Pair {
	p := m.pair(name)
	if len(p.Cert) > 0 {
		if err := p.fresh(p, nil, m.now); err != nil {
			m.fail(name, fmt.Errorf("the authority cannot be used any more (%w); to make a new one remove it, and give its certificate to all", err))
		}
		m.keep(name, p)
		return p
	}
	p, err := NewAuthority(common, m.now)
	if err != nil {
		m.fail(name, err)
	}
	m.keep(name, p)
	return p
}

func (m *maker) certificate(name string, authority Pair, common string, names []string, usage Usage) {
	p := m.pair(name)
	if p.fresh(authority, names, m.now) != nil {
		var err error
		if p, err = authority.Issue(common, names, usage, m.now); err != nil {
			m.fail(name, err)
		}
	}
	m.keep(name, p)
}

// user makes a user's key and gives the public half. Where that is known, the seed
// may have been taken away.
func (m *maker) user(name string) (public string) {
	seedFile, publicFile := "users/"+name+"/user.nk", "offline/"+name+".pub"
	seed := m.have[seedFile].Data
	if known := m.have[publicFile].Data; len(seed) == 0 && len(known) > 0 {
		m.put(publicFile, known, false)
		return string(known)
	}
	if len(seed) == 0 {
		var err error
		if seed, err = NewSeed(); err != nil {
			m.fail(name, err)
			return ""
		}
	}
	public, err := PublicKey(seed)
	if err != nil {
		m.fail(name, err)
		return ""
	}
	m.put(seedFile, seed, true)
	m.put(publicFile, []byte(public), false)
	return public
}

// NewSeed makes the secret of a user.
func NewSeed() ([]byte, error) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		return nil, err
	}
	return pair.Seed()
}

// PublicKey gives what a server knows of a user.
func PublicKey(seed []byte) (string, error) {
	pair, err := nkeys.FromSeed(seed)
	if err != nil {
		return "", fmt.Errorf("no nkey seed: %w", err)
	}
	return pair.PublicKey()
}

// Seeds makes a key for each user of a layout that is all in one process: seeds for
// them, public keys for EmbeddedConfig. They are good as long as the process.
func (l Layout) Seeds() (seeds map[string][]byte, public map[string]string, err error) {
	seeds, public = map[string][]byte{}, map[string]string{}
	for _, user := range l.Users() {
		if seeds[user], err = NewSeed(); err != nil {
			return nil, nil, err
		}
		if public[user], err = PublicKey(seeds[user]); err != nil {
			return nil, nil, err
		}
	}
	return seeds, public, nil
}
