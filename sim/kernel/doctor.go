//go:build linux

package kernel

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"p2pmodel/nat"
	"p2pmodel/nat/ruleset"
	"p2pmodel/sim/kernel/capture"
)

// doctorName is argument 0 of this binary when it is to try the kernel's
// features in a user namespace, for Doctor.
const doctorName = "p2pmodel-doctor"

// Doctor examines the machine: privileges and limits by looking, features of
// the kernel by trying them in namespaces that are thrown away. It needs no
// privileges itself, and Init must have been called.
func Doctor() []Check {
	checks := []Check{checkKernel()}
	privileged := onThread(func() error { return unix.Unshare(unix.CLONE_NEWNET) }) == nil
	userNamespaces, features := examineEntered()
	switch {
	case privileged:
		checks = append(checks, Check{Name: "privileges", State: Ready, Detail: "this process may make network namespaces"})
		if userNamespaces.State != Ready {
			userNamespaces.State = Limited // it is others who cannot
		}
		features = examineKernel()
	case userNamespaces.State == Ready:
		checks = append(checks, Check{Name: "privileges", State: Ready, Detail: "not root; labs run in a user namespace"})
	default:
		checks = append(checks, Check{Name: "privileges", State: Missing, Detail: "not root, and no user namespaces either", Fix: "sudo …"})
	}
	checks = append(checks, userNamespaces)
	checks = append(checks, features...)
	checks = append(checks, checkLimits(readLimits(descriptorsOfProcess+spacious.descriptors()))...)
	return append(checks, checkBuffers())
}

func checkKernel() Check {
	var name unix.Utsname
	_ = unix.Uname(&name) // cannot fail
	release := unix.ByteSliceToString(name.Release[:])
	c := Check{Name: "kernel", State: Ready, Detail: "Linux " + release}
	var major, minor int
	// A release that does not begin with two numbers is judged by the features.
	if n, _ := fmt.Sscanf(release, "%d.%d", &major, &minor); n == 2 && (major < 5 || major == 5 && minor < 16) {
		c.State, c.Fix = Missing, "install Linux 5.16 or newer"
	}
	return c
}

// examineEntered tries everything as an ordinary user would have it: in a user
// namespace.
func examineEntered() (Check, []Check) {
	c := Check{Name: "user namespaces", State: Ready, Detail: "labs can be built without root"}
	if !initialised {
		return Check{Name: c.Name, State: Missing, Detail: "not examined", Fix: "call kernel.Init at the start of main"}, nil
	}
	var out, complaint bytes.Buffer
	cmd := &exec.Cmd{
		Path: "/proc/self/exe", Args: []string{doctorName, ""}, Stdout: &out, Stderr: &complaint,
		SysProcAttr: &syscall.SysProcAttr{
			Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET | unix.CLONE_NEWNS,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		},
	}
	err := cmd.Run()
	var features []Check
	if err == nil {
		err = json.Unmarshal(out.Bytes(), &features)
	}
	if err == nil && features[0].State == Missing {
		err = errors.New(features[0].Detail)
	}
	if err != nil {
		return Check{Name: c.Name, State: Missing, Detail: fmt.Sprintf("%v %s", err, complaint.Bytes()), Fix: remedy(readSetting)}, nil
	}
	return c, features
}

// beDoctor is the other side of examineEntered.
func beDoctor() int {
	if err := json.NewEncoder(os.Stdout).Encode(examineKernel()); err != nil {
		return 1
	}
	return 0
}

// examineKernel tries the kernel's features one by one. What a check needs was
// made by those before it; the first is about namespaces.
func examineKernel() []Check {
	e := new(examination)
	defer e.close()
	e.try("network namespaces", "they can be made, and their settings changed",
		"a kernel with CONFIG_NET_NS, and /proc/sys writable (docker run --privileged)", func() (err error) {
			if e.a, err = newNode("a", always(routerSettings)); err == nil {
				e.b, err = newNode("b", always(hostSettings))
			}
			return err
		})
	e.try("veth", "pairs of interfaces can be made across namespaces", "sudo modprobe veth", e.link)
	e.try("packet sockets", "packets can be captured", "sudo modprobe af_packet", func() error {
		return e.a.ns.inside(func() error {
			fd, err := capture.Open(e.near.index)
			if err == nil {
				err = unix.Close(fd)
			}
			return err
		})
	})
	e.try("nf_tables", "packet filters can be installed", "sudo modprobe -a nf_tables nft_fib_ipv4", func() error {
		return e.a.dropBogons()
	})
	e.try("NAT by dynamic sets", "the rules of all preset NATs can be installed",
		"sudo modprobe -a nf_tables nft_numgen nft_hash nft_limit nft_ct nft_masq nft_chain_nat", e.nats)
	e.try("egress filter", "links can be cut and hosts restricted", "a kernel with CONFIG_NETFILTER_EGRESS (Linux 5.16)", func() error {
		_, err := loseAt(e.a, "examination", []*iface{e.near}, selection{})
		return err
	})
	e.try("PID namespaces", "programs can be started so that they die with us", "a kernel with CONFIG_PID_NS", e.program)
	return e.checks
}

// examination is a lab of two nodes to try things on.
type examination struct {
	checks    []Check
	failed    bool // the namespaces could not be made: nothing else can be tried
	a, b      *node
	near, far *iface
}

func (e *examination) try(name, detail, fix string, f func() error) {
	c := Check{Name: name, State: Ready, Detail: detail}
	if e.failed {
		c.State, c.Detail = Missing, "not tried, since "+e.checks[0].Name+" are missing"
	} else if err := f(); err != nil {
		c.State, c.Detail, c.Fix = Missing, err.Error(), fix
		e.failed = len(e.checks) == 0
	}
	e.checks = append(e.checks, c)
}

func (e *examination) link() error {
	e.near = e.a.addIface("near", "", macOf(0, 1))
	e.far = e.b.addIface("far", "", macOf(0, 2))
	err := e.b.ns.use(func(fd int) error {
		var b batch
		b.veth(e.near, e.far, fd)
		return e.a.do(&b)
	})
	if err != nil {
		return err
	}
	var b batch
	b.state(e.far, true)
	if err := e.b.do(&b); err != nil {
		return err
	}
	return e.a.awaitCarrier(e.near)
}

func (e *examination) nats() error {
	for _, p := range nat.Presets() {
		err := e.a.nft(func(conn *nftables.Conn) error {
			return ruleset.Install(conn, ruleset.Config{Behavior: p.Behavior, Outside: e.near.name, External: proberInside})
		})
		if err != nil {
			return fmt.Errorf("preset %s: %w", p.Name, err)
		}
	}
	return nil
}

// program runs this binary, which then ends at once, as the program of an init.
func (e *examination) program() error {
	ours, theirs, err := controlPair()
	if err != nil {
		return err
	}
	defer func() { _ = ours.Close() }()
	how, err := manner{}.file()
	if err != nil {
		return errors.Join(err, theirs.Close())
	}
	cmd := initOf("/proc/self/exe", []string{noopName, ""})
	cmd.ExtraFiles = []*os.File{theirs, how}
	err = cmd.Run()
	return errors.Join(err, theirs.Close(), how.Close())
}

func (e *examination) close() {
	for _, n := range []*node{e.a, e.b} {
		if n != nil {
			n.close()
		}
	}
}

// spacious is a lab of 500 hosts behind 500 NATs, all of which are certified.
var spacious = demand{nodes: 1001, nats: 500}

// checkLimits tells how large a lab each limit allows. The neighbour table of the
// machine is not among them: neighbours in labs are permanent, and the kernel does
// not count those against gc_thresh3.
func checkLimits(l limits) []Check {
	check := func(name string, have, need uint64, nodes uint64, fix string, args ...any) Check {
		c := Check{Name: name, State: Ready, Detail: fmt.Sprintf("%s, enough for a lab of %s nodes", count(have), count(nodes))}
		if have == unlimited {
			c.Detail = "not limited"
		}
		if have < need {
			c.State, c.Fix = Limited, fmt.Sprintf(fix, args...)
		}
		return c
	}
	files := descriptorsOfProcess + spacious.descriptors()
	programs := Check{Name: "processes", State: Ready, Detail: fmt.Sprintf("%s, enough for %s programs at once", count(l.processes), count(l.processes/processesOfProgram))}
	switch {
	case l.processes == unlimited:
		programs.Detail = "not limited"
	case l.processes < 1000*processesOfProgram:
		programs.State, programs.Fix = Limited, "sudo sysctl -w kernel.pid_max=4194304, ulimit -u, or pids.max of the control group"
	}
	available := l.memory
	if available != unlimited {
		available >>= 20
	}
	memory := check("memory", available, (memoryOfProcess+spacious.memory())>>20,
		(l.memory-min(l.memory, memoryOfProcess))/(memoryOfNode*3/2), "a machine or a control group (memory.max) with more")
	memory.Detail = strings.Replace(memory.Detail, ",", " MiB available,", 1)
	return []Check{
		check("open files", l.files, files, (l.files-min(l.files, descriptorsOfProcess))/descriptorsOfNode, "ulimit -n %d", files),
		check("open files of all", l.allFiles, files, l.allFiles/descriptorsOfNode, "sudo sysctl -w fs.file-max=%d", powerAbove(2*files)),
		check("number of namespaces", l.namespaces, spacious.namespaces(), l.namespaces*2/3, "sudo sysctl -w user.max_net_namespaces=65536"),
		memory, programs,
	}
}

// count writes what may be without a bound.
func count(n uint64) string {
	if n > math.MaxUint64/1024 {
		return "any number"
	}
	return strconv.FormatUint(n, 10)
}

// checkBuffers informs: root's captures are not bound by it.
func checkBuffers() Check {
	c := Check{Name: "receive buffers", State: Ready, Detail: "net.core.rmem_max is " + readSetting("net.core.rmem_max")}
	const wanted = 4 << 20
	if n, err := strconv.Atoi(readSetting("net.core.rmem_max")); err == nil && n < wanted && os.Geteuid() != 0 {
		c.State, c.Fix = Limited, fmt.Sprintf("sudo sysctl -w net.core.rmem_max=%d", 16<<20)
		c.Detail += "; without root, captures of fast traffic may be incomplete"
	}
	return c
}
