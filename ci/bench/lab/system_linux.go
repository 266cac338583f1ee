package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/vishvananda/netns"

	"p2pmodel/sim"
	"p2pmodel/sim/kernel"
)

// system makes a lab and takes it down. path is where a node's namespace is found meanwhile.
type system struct {
	name  string
	nodes []string
	build func(context.Context) error
	down  func(context.Context) error
	path  func(node string) (string, error)
	// waits says that down ends when the kernel has let go of the namespaces.
	waits bool
}

// pairs is a lab of so many peers behind NATs of their own, and a server: twice as many namespaces
// and two.
func pairs(n int, nat string) (*sim.Lab, error) {
	var b strings.Builder
	b.WriteString("lab:\n  routers:\n")
	for i := range n {
		fmt.Fprintf(&b, "    nat-%d: {nat: %s}\n", i, nat)
	}
	b.WriteString("  hosts:\n    server: {}\n")
	for i := range n {
		fmt.Fprintf(&b, "    peer-%d: {behind: nat-%d}\n", i, i)
	}
	return sim.ParseLab("pairs", []byte(b.String()))
}

// ours is the lab by our library.
func ours(name string, lab *sim.Lab) system {
	var n *kernel.Network
	return system{
		name: name, waits: true,
		build: func(ctx context.Context) error {
			built, err := kernel.Fabric{}.Build(ctx, lab, sim.Options{Seed: 1})
			if err == nil {
				n = built.(*kernel.Network)
			}
			return err
		},
		down: func(context.Context) error { return n.Close() },
		path: func(node string) (string, error) { return n.NamespacePath(node) },
	}
}

// scripted are the lab by scripts, with the rules that stand in ours. dir takes their files.
func scripted(ctx context.Context, dir string, lab *sim.Lab) ([]system, error) {
	p := &plan{nodes: []string{sim.Internet}, routers: map[string]bool{sim.Internet: true}, rules: make(map[string]string)}
	for _, r := range lab.Routers {
		p.nodes, p.routers[r.Name] = append(p.nodes, r.Name), true
	}
	for _, h := range lab.Hosts {
		p.nodes = append(p.nodes, h.Name)
	}
	n, err := kernel.Fabric{}.Build(ctx, lab, sim.Options{Seed: 1})
	if err != nil {
		return nil, err
	}
	p.Plan = n.Plan()
	for node := range p.routers {
		path, err := n.(*kernel.Network).NamespacePath(node)
		if err == nil {
			p.rules[node], err = listRules(ctx, path)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("rules of %s: %w", node, err), n.Close())
		}
	}
	if err := n.Close(); err != nil {
		return nil, err
	}
	rules, err := p.ruleFiles(dir)
	if err != nil {
		return nil, err
	}
	build, down := p.plain(rules)
	plain, err := script(dir, PlainName, "plain", build, down, p.nodes)
	if err != nil {
		return nil, err
	}
	if build, down, err = p.batched(dir, rules, runtime.NumCPU()); err != nil {
		return nil, err
	}
	batched, err := script(dir, BatchName, "batched", build, down, p.nodes)
	return []system{plain, batched}, err
}

func script(dir, name, file, build, down string, nodes []string) (system, error) {
	files := [2]string{filepath.Join(dir, file+"-build.sh"), filepath.Join(dir, file+"-down.sh")}
	err := errors.Join(os.WriteFile(files[0], []byte(build), 0o644), os.WriteFile(files[1], []byte(down), 0o644))
	return system{
		name: name, nodes: nodes,
		build: func(ctx context.Context) error { return shell(ctx, files[0]) },
		// Also when ctx has ended: nothing is to be left.
		down: func(ctx context.Context) error { return shell(context.WithoutCancel(ctx), files[1]) },
		path: func(node string) (string, error) { return "/run/netns/" + namespace(node), nil },
	}, err
}

// inside runs f on a thread in a namespace. Sockets that it opens and programs that it starts stay
// there; the thread goes home. One that cannot ends with its goroutine.
func inside(path string, f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		home, err := netns.Get()
		if err != nil {
			done <- err
			return
		}
		defer home.Close()
		there, err := netns.GetFromPath(path)
		if err == nil {
			err = netns.Set(there)
			err = errors.Join(err, there.Close())
		}
		if err == nil {
			err = f()
		}
		if back := netns.Set(home); back != nil {
			done <- errors.Join(err, back)
			return
		}
		runtime.UnlockOSThread()
		done <- err
	}()
	return <-done
}

func listRules(ctx context.Context, path string) (text string, err error) {
	err = inside(path, func() error {
		out, err := exec.CommandContext(ctx, "nft", "list", "ruleset").Output()
		text = string(out)
		return err
	})
	return text, err
}

// passes sends a datagram from a peer behind its NAT to the server and back, and says whether the server saw
// the NAT's address: the lab works.
func passes(s system, p *sim.Plan, peer, router string) error {
	sockets := make([]net.PacketConn, 2)
	for i, node := range []string{peer, "server"} {
		path, err := s.path(node)
		if err == nil {
			err = inside(path, func() (err error) {
				sockets[i], err = net.ListenPacket("udp4", ":0")
				return err
			})
		}
		if err != nil {
			return fmt.Errorf("%s: %w", node, err)
		}
		defer sockets[i].Close()
		if err := sockets[i].SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
			return err
		}
	}
	server := netip.AddrPortFrom(addressOf(p, "server"), uint16(sockets[1].LocalAddr().(*net.UDPAddr).Port))
	if _, err := sockets[0].WriteTo([]byte("?"), net.UDPAddrFromAddrPort(server)); err != nil {
		return err
	}
	b := make([]byte, 8)
	_, from, err := sockets[1].ReadFrom(b)
	if err != nil {
		return fmt.Errorf("the server heard nothing from %s: %w", peer, err)
	}
	if seen, want := from.(*net.UDPAddr).AddrPort().Addr().Unmap(), addressOf(p, router); seen != want {
		return fmt.Errorf("the server saw %v, want %v, which %s has outside", seen, want, router)
	}
	if _, err := sockets[1].WriteTo([]byte("!"), from); err != nil {
		return err
	}
	if _, _, err := sockets[0].ReadFrom(b); err != nil {
		return fmt.Errorf("%s heard no answer: %w", peer, err)
	}
	return nil
}

// addressOf is a node's first address at its uplink.
func addressOf(p *sim.Plan, node string) netip.Addr {
	for _, l := range p.Links {
		if l.ID.Node == node {
			return l.NodeAddrs[0]
		}
	}
	return netip.Addr{}
}
