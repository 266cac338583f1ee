package runner

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"p2pmodel/core/identity"
	"p2pmodel/core/shard/engine/layout"
	"p2pmodel/core/shard/login"
	"p2pmodel/core/ticket"
	"p2pmodel/scenarios"
)

// Ports of the servers of a system. Metrics are on the loopback of each host, one
// port a server.
const (
	enginePort      = 4222
	clusterPort     = 6222
	agentPort       = 443
	metricsPortBase = 9100
)

const operatorName = "lab"

// installation is the folder of a run with all that its servers are configured
// with.
type installation struct {
	dir         string
	lock        *os.File           // held while the process lives
	authorities *x509.CertPool     // who signed the Agents' certificates
	accountKey  ed25519.PrivateKey // signs login tokens
	// rendezvous are the identities of the shards' rendezvous, by shard.
	rendezvous map[string]identity.ID
}

func (n *installation) path(parts ...string) string {
	return filepath.Join(append([]string{n.dir}, parts...)...)
}

func (n *installation) write(data []byte, parts ...string) error {
	name := n.path(parts...)
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	return os.WriteFile(name, data, 0o600)
}

// install makes the files of a system whose hosts have these addresses.
func install(spec *scenarios.System, address func(host string) (netip.Addr, error)) (n *installation, err error) {
	n = &installation{rendezvous: map[string]identity.ID{}}
	if err := n.folder(); err != nil {
		return nil, fmt.Errorf("a folder for the system's files: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.remove())
		}
	}()
	if err := os.Mkdir(n.path("history"), 0o700); err != nil {
		return nil, err
	}
	if err := n.engines(spec, address); err != nil {
		return nil, err
	}
	if err := n.agents(spec, address); err != nil {
		return nil, err
	}
	for _, k := range spec.Shards {
		if err := n.shard(k); err != nil {
			return nil, fmt.Errorf("shard %s: %w", k.Name, err)
		}
	}
	return n, nil
}

// folderPrefix begins the names of the folders, which are where temporary files are.
const folderPrefix = "p2pmodel-lab-"

// folder makes the folder, and removes those of processes that were killed: each
// has a lock that the kernel takes back.
func (n *installation) folder() (err error) {
	left, _ := filepath.Glob(filepath.Join(os.TempDir(), folderPrefix+"*"))
	for _, dir := range left {
		if lock, err := lockFolder(dir, 0); err == nil {
			_ = os.RemoveAll(dir) // another one may do it at the same time
			lock.Close()
		} else if st, gone := os.Stat(dir); errors.Is(err, fs.ErrNotExist) && gone == nil && time.Since(st.ModTime()) > time.Minute {
			_ = os.Remove(dir) // whoever made it did not come to its lock
		}
	}
	if n.dir, err = os.MkdirTemp("", folderPrefix); err != nil {
		return err
	}
	n.lock, err = lockFolder(n.dir, os.O_CREATE)
	return err
}

// lockFolder takes a folder's lock; it is free where nobody lives who has it. One
// without a lock is just being made.
func lockFolder(dir string, flags int) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|flags, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lockFile(f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (n *installation) remove() error {
	defer n.lock.Close()
	return os.RemoveAll(n.dir)
}

// engines makes the configurations of the engines and the credentials of all who
// connect to them.
func (n *installation) engines(spec *scenarios.System, address func(host string) (netip.Addr, error)) error {
	l := layout.Layout{Cluster: "lab", Directories: len(spec.Directories), Agents: spec.Agents, Operators: []string{operatorName}}
	for _, k := range spec.Shards {
		l.Shards = append(l.Shards, k.Name)
	}
	for _, host := range spec.Engines {
		addr, err := address(host)
		if err != nil {
			return err
		}
		node := layout.Node{
			Name: host, Listen: netip.AddrPortFrom(addr, enginePort).String(), Names: []string{addr.String()},
			Dir: n.path("nodes", host), Store: n.path("store", host),
		}
		if len(spec.Engines) > 1 {
			node.Cluster = netip.AddrPortFrom(addr, clusterPort).String()
		}
		l.Nodes = append(l.Nodes, node)
	}
	files, err := l.Files(nil, time.Now())
	if err != nil {
		return err
	}
	for name, file := range files {
		if err := n.write(file.Data, filepath.FromSlash(name)); err != nil {
			return err
		}
	}
	return nil
}

// agents makes the certificates of the Agents and the key of login tokens.
func (n *installation) agents(spec *scenarios.System, address func(host string) (netip.Addr, error)) error {
	authority, err := layout.NewAuthority("clients of the lab", time.Now())
	if err != nil {
		return err
	}
	n.authorities = x509.NewCertPool()
	n.authorities.AppendCertsFromPEM(authority.Cert)
	for _, host := range spec.Agents {
		addr, err := address(host)
		if err != nil {
			return err
		}
		pair, err := authority.Issue(host, []string{addr.String()}, layout.Usage{Server: true}, time.Now())
		if err != nil {
			return err
		}
		if err := errors.Join(n.write(pair.Cert, "agents", host, "tls.crt"), n.write(pair.Key, "agents", host, "tls.key")); err != nil {
			return err
		}
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	n.accountKey = private
	text, err := login.FormatKey(public)
	if err != nil {
		return err
	}
	return n.write(text, "login.pub")
}

// shard makes the secrets that a shard shares with its UDP servers.
func (n *installation) shard(k scenarios.Shard) error {
	random := make([]byte, ed25519.SeedSize+16)
	if _, err := rand.Read(random); err != nil {
		return err
	}
	seed, secret := random[:ed25519.SeedSize], random[ed25519.SeedSize:]
	signer, err := ticket.NewSigner(ed25519.NewKeyFromSeed(seed))
	if err != nil {
		return err
	}
	key, err := identity.NewKey(rand.Reader)
	if err != nil {
		return err
	}
	n.rendezvous[k.Name] = key.ID()
	line := func(text string) []byte { return []byte(text + "\n") }
	return errors.Join(
		n.write(line(base64.StdEncoding.EncodeToString(seed)), "shards", k.Name, "ticket.key"),
		n.write(line(ticket.FormatPublicKey(signer.Public())), "shards", k.Name, "ticket.pub"),
		n.write(line(hex.EncodeToString(secret)), "shards", k.Name, "relay.secret"),
		n.write(line(key.Secret()), "shards", k.Name, "rendezvous.key"),
	)
}

// credentials are the flags by which a user of the engine connects to it.
func (n *installation) credentials(spec *scenarios.System, user string, address func(host string) (netip.Addr, error)) ([]string, error) {
	var args []string
	for _, host := range spec.Engines {
		addr, err := address(host)
		if err != nil {
			return nil, err
		}
		args = append(args, "--engine", "tls://"+net.JoinHostPort(addr.String(), fmt.Sprint(enginePort)))
	}
	for flag, file := range map[string]string{
		"--engine-seed-file": "user.nk", "--engine-ca-file": "ca.crt", "--engine-cert-file": "tls.crt", "--engine-key-file": "tls.key",
	} {
		args = append(args, flag, n.path("users", user, file))
	}
	return args, nil
}
