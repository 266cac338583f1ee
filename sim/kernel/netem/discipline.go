//go:build linux

package netem

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"p2pmodel/sim/link"
)

// The functions of this file act in the network namespace of the calling thread.

// ask sends one request about a queueing discipline.
func ask(command, flags, ifindex int, handle, parent uint32, attributes ...*nl.RtAttr) error {
	req := nl.NewNetlinkRequest(command, flags|unix.NLM_F_ACK)
	req.AddData(&nl.TcMsg{Family: nl.FAMILY_ALL, Ifindex: int32(ifindex), Handle: handle, Parent: parent})
	for _, a := range attributes {
		req.AddData(a)
	}
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

func kind(name string) *nl.RtAttr { return nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated(name)) }

// shape makes what leaves an interface be impaired. What is on its way keeps its
// time where the interface was shaped before.
func shape(ifindex int, now, before link.Impairment, shaped bool, seed uint64) error {
	flags := 0
	if !shaped {
		flags = unix.NLM_F_CREATE | unix.NLM_F_EXCL
	}
	if err := ask(unix.RTM_NEWQDISC, flags, ifindex, rootHandle, netlink.HANDLE_ROOT, kind("netem"), netemOptions(now, seed), sizeTable()); err != nil {
		return missing("sch_netem", err)
	}
	limited := shaped && before.Rate > 0
	switch {
	case now.Rate > 0:
		flags = 0
		if !limited {
			flags = unix.NLM_F_CREATE | unix.NLM_F_EXCL
		}
		err := ask(unix.RTM_NEWQDISC, flags, ifindex, rateHandle, netlink.MakeHandle(1, 1), kind("tbf"), tbfOptions(now))
		return missing("sch_tbf", err)
	case limited:
		return ask(unix.RTM_DELQDISC, 0, ifindex, rateHandle, netlink.MakeHandle(1, 1))
	}
	return nil
}

// unshape takes the disciplines away, and all that waits in them.
func unshape(ifindex int) error {
	return ask(unix.RTM_DELQDISC, 0, ifindex, 0, netlink.HANDLE_ROOT)
}

// ErrMissing says that the kernel lacks a module.
var ErrMissing = errors.New("the kernel cannot carry links by netem")

// missing tells which module a refusal is about.
func missing(module string, err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("%w: it has no %s: %w (sudo modprobe -a %[2]s, where it has one)", ErrMissing, module, err)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", module, err)
	}
	return nil
}

// redirect makes what comes in at an interface leave by another one.
func redirect(from, to int) error {
	err := netlink.QdiscAdd(&netlink.Ingress{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: from, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_INGRESS,
	}})
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return missing("sch_ingress", err)
	}
	err = netlink.FilterAdd(redirection(from, to))
	return missing("cls_matchall act_mirred", err)
}

// unredirect ends that: what comes in is addressed to nobody here, and lost.
func unredirect(from, to int) error { return netlink.FilterDel(redirection(from, to)) }

func redirection(from, to int) *netlink.MatchAll {
	return &netlink.MatchAll{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: from, Parent: netlink.MakeHandle(0xffff, 0), Handle: 1, Priority: 1, Protocol: unix.ETH_P_ALL,
		},
		Actions: []netlink.Action{&netlink.MirredAction{
			ActionAttrs: netlink.ActionAttrs{Action: netlink.TC_ACT_STOLEN}, MirredAction: netlink.TCA_EGRESS_REDIR, Ifindex: to,
		}},
	}
}

// traffic is what the kernel has counted at an interface: what came in, what left,
// and what its disciplines did.
type traffic struct {
	in, out, outBytes uint64
	lost              uint64 // by netem, of its own
	full              uint64 // by tbf's queue
	overtook          uint64
	waiting           uint64 // packets in the disciplines
}

func count(ifindex int) (t traffic, err error) {
	l, err := netlink.LinkByIndex(ifindex)
	if err != nil {
		return t, err
	}
	if s := l.Attrs().Statistics; s != nil {
		t.in, t.out, t.outBytes = s.RxPackets, s.TxPackets, s.TxBytes
	}
	all, err := netlink.QdiscList(l)
	if err != nil {
		return t, err
	}
	for _, q := range all {
		a := q.Attrs()
		if a.Statistics == nil || a.Statistics.Queue == nil {
			continue
		}
		switch s := a.Statistics.Queue; a.Handle {
		case rootHandle:
			t.lost += uint64(s.Drops)
			t.overtook, t.waiting = uint64(s.Requeues), uint64(s.Qlen)
		case rateHandle:
			// netem counts what its inner discipline refuses, too.
			t.lost -= uint64(s.Drops)
			t.full += uint64(s.Drops)
		}
	}
	return t, nil
}
