package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"p2pmodel/core/shard/limits"
	"p2pmodel/core/shard/login"
)

// Whatever stands in a configuration file is taken or told, with its place.
func FuzzConfigurationFile(f *testing.F) {
	for _, text := range []string{"", "listen: a\n", "limit: 3\nengine: [a, b]\nopen: true\n", "listen: [a\n", "limit: {a: b}\n", "wait: 3s # why\n", "\xff: 1\n", "a: &x 1\nb: *x\n"} {
		f.Add([]byte(text))
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text []byte) {
		flags := pflag.NewFlagSet("sample", pflag.ContinueOnError)
		flags.String("listen", "", "")
		flags.String("token-file", "", "`FILE`")
		flags.Int("limit", 5, "")
		flags.Duration("wait", 0, "")
		flags.Bool("open", false, "")
		flags.StringSlice("engine", nil, "")
		file := filepath.Join(dir, "sample.yaml")
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		err := readConfiguration(flags, file, map[string]source{})
		if err == nil {
			return
		}
		if _, ok := err.(usageError); !ok || !strings.Contains(err.Error(), "sample.yaml:") {
			t.Errorf("%q: %v is told without its place", text, err)
		}
	})
}

// Writing an account leaves the others as they are.
func FuzzAccountsFile(f *testing.F) {
	hash := "$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	f.Add("", "ann")
	f.Add("ann:\n  password: "+hash+"\n", "ann")
	f.Add("# friends\nann:\n  password: "+hash+"\n'bob':\n  password: "+hash+"\n  rating: 3", "bob")
	f.Add("ann: {password: "+hash+"}\n", "bob")
	f.Fuzz(func(t *testing.T, text, name string) {
		if limits.CheckPlayer("name", name) != nil || strings.Count(text, "password") > 8 {
			return
		}
		if _, err := login.NewAccounts(login.AccountsConfig{}, "before", []byte(text)); err != nil && strings.TrimSpace(text) != "" {
			return
		}
		after := withAccount(text, name, hash, 7)
		if _, err := login.NewAccounts(login.AccountsConfig{}, "after", []byte(after)); err != nil {
			return // the command refuses to write it
		}
		again := withAccount(after, name, hash, 7)
		if again != after {
			t.Errorf("written once:\n%q\ntwice:\n%q", after, again)
		}
		for line := range strings.Lines(text) {
			if line[0] == '#' && !strings.Contains(after, strings.TrimSuffix(line, "\n")) {
				t.Errorf("the comment %q has gone from\n%q", line, after)
			}
		}
	})
}
