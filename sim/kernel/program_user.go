//go:build linux

package kernel

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// account is the user that a program runs as.
type account struct {
	UID    uint32   `json:"uid"`
	GID    uint32   `json:"gid"`
	Groups []uint32 `json:"groups,omitempty"`
	Name   string   `json:"-"`
	Home   string   `json:"-"`
}

// accountOf finds a user by name or number. Without a name it is ours: nil.
func accountOf(name string) (*account, error) {
	if name == "" {
		return nil, nil
	}
	a, err := lookUp(name)
	if err != nil {
		return nil, fmt.Errorf("user %s: %w", name, err)
	}
	ids := []struct {
		file, what string
		id         uint32
	}{{"uid_map", "user id", a.UID}, {"gid_map", "group id", a.GID}}
	for _, k := range ids {
		table, err := os.ReadFile("/proc/self/" + k.file)
		if err != nil {
			return nil, fmt.Errorf("user %s: %w", name, err)
		}
		if !mapped(string(table), k.id) {
			return nil, fmt.Errorf("user %s: %s %d does not exist in this user namespace, which has only root: run as root (`sudo …`), or without a user", name, k.what, k.id)
		}
	}
	a.Groups = slices.DeleteFunc(a.Groups, func(id uint32) bool {
		table, err := os.ReadFile("/proc/self/gid_map")
		return err != nil || !mapped(string(table), id)
	})
	return a, nil
}

// lookUp asks the machine's accounts. A number that is nobody's is a user with the
// group of the same number, as containers have them.
func lookUp(name string) (*account, error) {
	u, err := user.Lookup(name)
	if err != nil {
		number, bad := strconv.ParseUint(name, 10, 32)
		if bad != nil {
			return nil, errors.New("there is no such user on this machine")
		}
		if u, err = user.LookupId(name); err != nil {
			return &account{UID: uint32(number), GID: uint32(number), Name: name, Home: "/"}, nil
		}
	}
	uid, bad := strconv.ParseUint(u.Uid, 10, 32)
	gid, worse := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(bad, worse); err != nil {
		return nil, err
	}
	a := &account{UID: uint32(uid), GID: uint32(gid), Name: u.Username, Home: u.HomeDir}
	groups, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("its groups: %w", err)
	}
	for _, g := range groups {
		if id, err := strconv.ParseUint(g, 10, 32); err == nil {
			a.Groups = append(a.Groups, uint32(id))
		}
	}
	return a, nil
}

// mapped reports whether an id is one of a user namespace, by its uid_map or
// gid_map: lines of the first id inside, the first id outside, and how many.
func mapped(table string, id uint32) bool {
	for line := range strings.Lines(table) {
		var inside, outside, count uint64
		if n, err := fmt.Sscan(line, &inside, &outside, &count); n == 3 && err == nil && uint64(id) >= inside && uint64(id) < inside+count {
			return true
		}
	}
	return false
}

// environ is a program's environment with the user's name and home in it, unless
// it is given others on purpose.
func (a *account) environ(given []string) []string {
	if a == nil {
		return given
	}
	all := []string{"HOME=" + a.Home, "USER=" + a.Name, "LOGNAME=" + a.Name}
	if given != nil {
		return append(all, given...) // of double names the last counts
	}
	return append(os.Environ(), all...)
}

// credential is what the process of a program gets. Where the kernel does not let
// us set groups, as in a user namespace of an ordinary user, they stay as they are.
func (a *account) credential() *syscall.Credential {
	if a == nil {
		return nil
	}
	permission, err := os.ReadFile("/proc/self/setgroups")
	return &syscall.Credential{
		Uid: a.UID, Gid: a.GID, Groups: a.Groups,
		NoSetGroups: err == nil && strings.TrimSpace(string(permission)) == "deny",
	}
}
