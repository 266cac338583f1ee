package lab

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"p2pmodel/nat/ruleset"
	"p2pmodel/sim"
)

// prefix is that of the names of the scripts' namespaces.
var prefix = fmt.Sprintf("p2pmodel-bench-%d-", os.Getpid())

// plan is what a script makes: the nodes and links of a lab, and the rules that each node has there.
type plan struct {
	*sim.Plan
	nodes   []string
	routers map[string]bool
	rules   map[string]string // as nft lists them
}

// upper is the interface of a link at the parent, lower that of the node.
func upper(id sim.LinkID) string { return "to-" + id.Node }

func namespace(node string) string { return prefix + node }

// settings are what a node's namespace has in a lab of ours, too.
func (p *plan) settings(node string) []string {
	all := map[string]string{"net/ipv6/conf/all/disable_ipv6": "1"}
	if p.routers[node] {
		maps.Copy(all, ruleset.Sysctls())
	} else {
		all["net/ipv4/conf/all/rp_filter"], all["net/ipv4/conf/default/rp_filter"] = "0", "0"
	}
	var text []string
	for _, key := range slices.Sorted(maps.Keys(all)) {
		text = append(text, strings.ReplaceAll(key, "/", ".")+"="+all[key])
	}
	// Writing it resets others.
	slices.SortStableFunc(text, func(a, b string) int {
		return boolean(strings.Contains(b, "ip_forward")) - boolean(strings.Contains(a, "ip_forward"))
	})
	return text
}

func boolean(b bool) int {
	if b {
		return 1
	}
	return 0
}

// veths are the commands of ip that make the links, both ends at once in their places.
func (p *plan) veths() (commands []string) {
	for _, l := range p.Links {
		commands = append(commands, fmt.Sprintf("link add %s netns %s type veth peer name %s netns %s",
			upper(l.ID), namespace(l.Parent), l.ID.Uplink, namespace(l.ID.Node)))
	}
	return commands
}

// within are the commands of ip in a node's namespace.
func (p *plan) within(node string) []string {
	commands := []string{"link set lo up"}
	for _, l := range p.Links {
		switch node {
		case l.Parent:
			dev := upper(l.ID)
			commands = append(commands, "link set "+dev+" up", fmt.Sprintf("address add %s/32 dev %s", l.ParentAddr, dev))
			for _, a := range l.NodeAddrs {
				commands = append(commands, fmt.Sprintf("route add %s/32 dev %s src %s", a, dev, l.ParentAddr))
			}
			for _, to := range l.Routes {
				commands = append(commands, fmt.Sprintf("route add %s via %s dev %s src %s onlink", to, l.NodeAddrs[0], dev, l.ParentAddr))
			}
		case l.ID.Node:
			dev := l.ID.Uplink
			commands = append(commands, "link set "+dev+" up")
			for _, a := range l.NodeAddrs {
				commands = append(commands, fmt.Sprintf("address add %s/32 dev %s", a, dev))
			}
			commands = append(commands, fmt.Sprintf("route add default via %s dev %s src %s onlink", l.ParentAddr, dev, l.NodeAddrs[0]))
		}
	}
	return commands
}

// ruleFiles writes the rules of each node into a file of its own.
func (p *plan) ruleFiles(dir string) (map[string]string, error) {
	files := make(map[string]string)
	for node, text := range p.rules {
		files[node] = filepath.Join(dir, node+".nft")
		if err := os.WriteFile(files[node], []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// plain is a script as people write it: a command after another.
func (p *plan) plain(rules map[string]string) (build, down string) {
	var b, d strings.Builder
	b.WriteString("set -e\n")
	for _, node := range p.nodes {
		fmt.Fprintf(&b, "ip netns add %s\n", namespace(node))
		fmt.Fprintf(&b, "ip netns exec %s sysctl -qw %s\n", namespace(node), strings.Join(p.settings(node), " "))
		fmt.Fprintf(&d, "ip netns delete %s\n", namespace(node))
	}
	for _, c := range p.veths() {
		b.WriteString("ip " + c + "\n")
	}
	for _, node := range p.nodes {
		for _, c := range p.within(node) {
			fmt.Fprintf(&b, "ip -n %s %s\n", namespace(node), c)
		}
		if file := rules[node]; file != "" {
			fmt.Fprintf(&b, "ip netns exec %s nft -f %s\n", namespace(node), file)
		}
	}
	return b.String(), d.String()
}

// batched is as few processes as do: ip -batch for the namespaces and links, and one for each namespace's
// addresses and routes; what is done within namespaces runs on all processors.
func (p *plan) batched(dir string, rules map[string]string, processors int) (build, down string, err error) {
	write := func(name string, commands []string) string {
		file := filepath.Join(dir, name)
		if err == nil {
			err = os.WriteFile(file, []byte(strings.Join(commands, "\n")+"\n"), 0o644)
		}
		return file
	}
	var add, remove, sets, rest []string
	for _, node := range p.nodes {
		add = append(add, "netns add "+namespace(node))
		remove = append(remove, "netns delete "+namespace(node))
		sets = append(sets, fmt.Sprintf("ip netns exec %s sysctl -qw %s", namespace(node), strings.Join(p.settings(node), " ")))
		inside := fmt.Sprintf("ip -n %s -batch %s", namespace(node), write(node+".ip", p.within(node)))
		if file := rules[node]; file != "" {
			inside += fmt.Sprintf("\nip netns exec %s nft -f %s", namespace(node), file)
		}
		rest = append(rest, inside)
	}
	// Parts of a script run beside each other, each ending at its first failure.
	parallel := func(name string, commands []string) string {
		parts := make([][]string, processors)
		for i, c := range commands {
			parts[i%processors] = append(parts[i%processors], c)
		}
		var text strings.Builder
		for i, part := range parts {
			fmt.Fprintf(&text, "sh -e %s & p%d=$!\n", write(fmt.Sprintf("%s-%d.sh", name, i), part), i)
		}
		for i := range parts {
			fmt.Fprintf(&text, "wait $p%d\n", i)
		}
		return text.String()
	}
	build = "set -e\nip -batch " + write("add", add) + "\n" + parallel("set", sets) +
		"ip -batch " + write("veth", p.veths()) + "\n" + parallel("rest", rest)
	down = "ip -force -batch " + write("remove", remove) + "\n"
	return build, down, err
}

// shell runs a script.
func shell(ctx context.Context, file string) error {
	out, err := exec.CommandContext(ctx, "sh", file).CombinedOutput()
	if err != nil {
		return fmt.Errorf("sh %s: %w: %s", file, err, strings.TrimSpace(string(out)))
	}
	return nil
}
