// Package layout says who is in an installation and what each may do, and makes
// the files for it: the servers' configurations, users' keys, certificates.
//
// Isolation is by accounts of NATS. A subject of one account does not exist in
// another one unless the one exports it to the other and that imports it:
//
//	SHARD_ID   one for each shard. It serves its lobby and its game, publishes its
//	           events, and calls the directory by subjects that have its own ID.
//	DIRECTORY  the directories; the only one with streams. It calls all lobbies.
//	AGENT      the Agents. They call what clients need of directories, lobbies and
//	           games, and hear the events of all shards.
//	OPERATOR   people: drain a shard, list shards and rooms.
//	SYS        the server's own; nobody is in it.
//
// Within an account, users have permissions of their own, so that an Agent does not
// see another one's requests or answers: answers to a user NAME come to
// _INBOX.NAME.>.
//
// Users prove themselves by nkeys (Ed25519; configurations have the public keys
// only) and by certificates of the installation's own authority.
package layout

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
)

// Layout is an installation.
type Layout struct {
	// Cluster is its name: letters, digits, - and _.
	Cluster string
	// Nodes are the servers of the engine: none (all in one process), 1, 3 or 5.
	Nodes []Node
	// Directories is how many members there are, 1, 3 or 5: directory-0 and so on.
	Directories int
	// Shards, Agents and Operators are names: lower-case letters, digits and -.
	Shards, Agents, Operators []string
}

// Node is one server of the engine, and where its things are on its machine.
type Node struct {
	// Name as of shards.
	Name string
	// Listen is where clients connect, HOST:PORT; Cluster is where other nodes do.
	// A layout of one node needs no Cluster.
	Listen, Cluster string
	// Names are the host names and addresses by which the node is known, for its
	// certificates. RouteHost is the one by which other nodes connect; empty: the
	// first.
	Names     []string
	RouteHost string
	// Dir is where the node's files are, Store where it keeps its streams.
	Dir, Store string
}

// Defaults of Node.
const (
	DefaultDir   = "/etc/p2pmodel/engine"
	DefaultStore = "/var/lib/p2pmodel/engine"
)

var (
	nameRe    = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)
	clusterRe = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,32}$`)
)

// Check says what is wrong with a layout.
func (l Layout) Check() error {
	var problems []error
	add := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if !clusterRe.MatchString(l.Cluster) {
		add("cluster %q: 1 to 32 letters, digits, - and _", l.Cluster)
	}
	if l.Directories != 1 && l.Directories != 3 && l.Directories != 5 {
		add("%d directories: 1, 3 or 5, so that there is a majority", l.Directories)
	}
	if n := len(l.Nodes); n != 0 && n != 1 && n != 3 && n != 5 {
		add("%d nodes: 1, 3 or 5 (or none, within one process), so that there is a majority", n)
	}
	if len(l.Shards) == 0 {
		add("no shard")
	}
	for what, names := range map[string][]string{"shard": l.Shards, "agent": l.Agents, "operator": l.Operators, "node": l.nodeNames()} {
		sorted := slices.Sorted(slices.Values(names))
		for i, name := range sorted {
			if !nameRe.MatchString(name) {
				add("%s %q: a name is 1 to 32 lower-case letters, digits and -", what, name)
			}
			if i > 0 && sorted[i-1] == name {
				add("%s %q is there twice", what, name)
			}
		}
	}
	for _, n := range l.Nodes {
		if n.Listen == "" || len(n.Names) == 0 {
			add("node %s: it needs an address to listen at, and a name or address by which it is known", n.Name)
		}
		if len(l.Nodes) > 1 && n.Cluster == "" {
			add("node %s: it needs an address where other nodes connect", n.Name)
		}
	}
	return errors.Join(problems...)
}

func (l Layout) nodeNames() []string {
	var names []string
	for _, n := range l.Nodes {
		names = append(names, n.Name)
	}
	return names
}

// Replicas is how many copies the streams of the layout have: all nodes, up to 3.
func (l Layout) Replicas() int { return max(1, min(3, len(l.Nodes))) }

// Names of users.
func DirectoryUser(n int) string      { return "directory-" + strconv.Itoa(n) }
func ShardUser(id string) string      { return "shard-" + id }
func AgentUser(name string) string    { return "agent-" + name }
func OperatorUser(name string) string { return "operator-" + name }

// Users lists the names of all users.
func (l Layout) Users() []string {
	var users []string
	for n := range l.Directories {
		users = append(users, DirectoryUser(n))
	}
	for _, id := range l.Shards {
		users = append(users, ShardUser(id))
	}
	for _, name := range l.Agents {
		users = append(users, AgentUser(name))
	}
	for _, name := range l.Operators {
		users = append(users, OperatorUser(name))
	}
	return users
}
