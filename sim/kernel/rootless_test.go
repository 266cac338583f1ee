//go:build linux

package kernel

import (
	"testing"

	"p2pmodel/nat/ruleset"
)

func TestRemediesNameTheSettingThatForbids(t *testing.T) {
	for name, tt := range map[string]struct {
		settings map[string]string
		want     string
	}{
		"Debian":    {map[string]string{"user.max_user_namespaces": "1000", "kernel.unprivileged_userns_clone": "0"}, "run `sudo sysctl -w kernel.unprivileged_userns_clone=1`, or run as root: `sudo …`"},
		"Ubuntu":    {map[string]string{"user.max_user_namespaces": "1000", "kernel.apparmor_restrict_unprivileged_userns": "1"}, "run `sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`, or run as root: `sudo …`"},
		"none":      {map[string]string{"user.max_user_namespaces": "0"}, "run `sudo sysctl -w user.max_user_namespaces=15000`, or run as root: `sudo …`"},
		"no kernel": {nil, "this kernel has none (CONFIG_USER_NS); run as root: `sudo …`"},
		"container": {map[string]string{"user.max_user_namespaces": "1000"}, "something forbids them, perhaps the seccomp filter of a container (docker run --privileged); run as root: `sudo …`"},
	} {
		if got := remedy(func(name string) string { return tt.settings[name] }); got != tt.want {
			t.Errorf("%s: %s\nwant %s", name, got, tt.want)
		}
	}
}

// The rules of a NAT rely on settings of the router's namespace.
func TestRoutersHaveTheSettingsThatNATsNeed(t *testing.T) {
	have := make(map[string]string)
	for _, s := range routerSettings {
		have[s.path] = s.value
	}
	for path, value := range ruleset.Sysctls() {
		if got := have["/proc/sys/"+path]; got != value {
			t.Errorf("routers have %q in %s, and NATs need %q", got, path, value)
		}
	}
}
