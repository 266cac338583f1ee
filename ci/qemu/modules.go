package main

import (
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// wanted are the modules that labs need, as patterns of their names. What a
// kernel has built in is not there as a file, and not missed.
var wanted = []string{
	"veth", "tun", "dummy", "af_packet",
	"nf_tables", "nfnetlink*", "nft_*", "nf_conntrack", "nf_conntrack_netlink", "nf_nat", "nf_log_syslog", "nf_reject_ipv*",
	"sch_netem", "sch_tbf", "sch_ingress", "cls_matchall", "act_mirred", "tcp_diag", "udp_diag",
}

// needed must be there as files: Debian has them so.
var needed = []string{"veth", "nf_tables", "nft_ct", "nft_numgen", "nft_limit", "nfnetlink_log", "sch_netem", "sch_tbf"}

// modulesOf gives the files of a kernel's modules that are wanted, and of those that
// these need, each after those. A package that was not installed has no
// modules.dep, so that the modules are asked themselves.
func modulesOf(k kernel) ([]string, error) {
	files := map[string]string{}
	err := filepath.WalkDir(k.modules, func(path string, d fs.DirEntry, err error) error {
		if name, ok := strings.CutSuffix(filepath.Base(path), ".ko"); ok && err == nil {
			files[canonical(name)] = path
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, name := range needed {
		if files[name] == "" {
			return nil, fmt.Errorf("%w: the kernel %s has no file %s.ko (compressed modules are not read)", errUnavailable, k.release, name)
		}
	}
	var names, order []string
	for name := range files {
		if slices.ContainsFunc(wanted, func(p string) bool { ok, _ := filepath.Match(p, name); return ok }) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	seen := map[string]bool{}
	var add func(name string) error
	add = func(name string) error {
		path := files[name]
		if seen[name] || path == "" { // built in
			return nil
		}
		seen[name] = true
		needs, err := needsOf(path)
		if err != nil {
			return err
		}
		for _, n := range needs {
			if err := add(canonical(n)); err != nil {
				return err
			}
		}
		order = append(order, path)
		return nil
	}
	for _, name := range names {
		if err := add(name); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// canonical is a module's name as the kernel has it, which knows no hyphens.
func canonical(name string) string { return strings.ReplaceAll(name, "-", "_") }

// needsOf reads which modules one needs.
func needsOf(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	object, err := elf.NewFile(f)
	if err != nil {
		return nil, fmt.Errorf("module %s: %w", path, err)
	}
	section := object.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("module %s: it says nothing of itself", path)
	}
	info, err := section.Data()
	if err != nil {
		return nil, fmt.Errorf("module %s: %w", path, err)
	}
	for entry := range strings.SplitSeq(string(info), "\x00") {
		if list, ok := strings.CutPrefix(entry, "depends="); ok && list != "" {
			return strings.Split(list, ","), nil
		}
	}
	return nil, nil
}
