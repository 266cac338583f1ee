package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"p2pmodel/core/freeport"
)

func TestServersBadInput(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "layout")
	if code, _, says := executeWith(t.Context(), "", "init", dir); code != 0 {
		t.Fatal(says)
	}
	bad := filepath.Join(dir, "bad")
	if err := os.WriteFile(bad, []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(t.TempDir(), "data")
	all := func(args ...string) []string { return append([]string{"all", "--data-dir", data}, args...) }
	of := func(process string, args ...string) []string {
		command, _, _ := strings.Cut(process, "-")
		return append([]string{command, "--config", filepath.Join(dir, process, command+".yaml")}, args...)
	}
	for name, c := range map[string]struct {
		args []string
		says string
	}{
		"all: no port":                       {all("--listen", "127.0.0.1"), "--listen"},
		"all: open to the world by accident": {all("--listen", "0.0.0.0:0", "--public-address", "198.51.100.1"), "say who may log in"},
		"all: nobody knows the address":      {all("--listen", "0.0.0.0:0", "--open"), "--public-address"},
		"all: no shards":                     {all("--shards", "0"), "--shards 0"},
		"all: a public operator":             {all("--operator-listen", "0.0.0.0:4222"), "--operator-listen"},
		"all: a name for an address":         {all("--public-address", "example.org"), "--public-address"},
		"all: both sorts of accounts":        {all("--open", "--accounts-file", bad), "--accounts-file"},
		"all: a file of accounts of none":    {all("--accounts-file", bad), bad},
		"all: half a certificate":            {all("--tls-cert-file", bad), "need each other"},
		"all: a log format of none":          {all("--log-format", "xml"), "text or json"},
		"all: metrics at no address":         {all("--metrics-listen", "x"), "--metrics-listen"},
		"all: more streams than shards":      {all("--relay-tls", "127.0.0.1:1,127.0.0.1:2"), "2 addresses for 1 shards"},
		"all: a stream nobody reaches":       {all("--rendezvous-tcp", "0.0.0.0:443"), "players are told this address"},
		"shard: TLS without a certificate":   {of("shard-1", "--rendezvous-listen", "127.0.0.1:1", "--rendezvous", "", "--rendezvous-tls", "127.0.0.1:443"), "--cert FILE"},
		"shard: a certificate for nothing":   {of("shard-1", "--cert", bad, "--key", bad), "--cert and --key are for"},
		"engine: no configuration":           {[]string{"engine"}, "--nats-config-file FILE is required"},
		"engine: no such configuration":      {[]string{"engine", "--nats-config-file", dir + "/none"}, "no such file"},
		"engine: a broken configuration":     {[]string{"engine", "--nats-config-file", bad}, bad},
		"directory: no engine":               {[]string{"directory"}, "--engine URL is required"},
		"directory: an engine by http":       {of("directory-0", "--engine", "http://127.0.0.1:4222"), "tls://HOST:PORT"},
		"directory: a password in a URL":     {of("directory-0", "--engine", "tls://a:hunter2@127.0.0.1:4222"), "--engine-seed-file"},
		"directory: a seed that is none":     {of("directory-0", "--engine-seed-file", bad), "nkey seed"},
		"directory: two members":             {of("directory-0", "--members", "2"), "1, 3 or 5"},
		"directory: a member beyond":         {of("directory-0", "--index", "1"), "--index 1"},
		"shard: no name":                     {of("shard-1", "--name", ""), "--name ID is required"},
		"shard: no ticket key":               {of("shard-1", "--ticket-key-file", ""), "--ticket-key-file FILE is required"},
		"shard: a ticket key that is none":   {of("shard-1", "--ticket-key-file", bad), "--ticket-key-file"},
		"shard: two rendezvous":              {of("shard-1", "--rendezvous", "127.0.0.1:1"), "exclude each other"},
		"shard: a rendezvous nobody reaches": {of("shard-1", "--rendezvous-listen", "0.0.0.0:3478"), "players are told this address"},
		"shard: a relay without a secret":    {of("shard-1", "--relay-secret-file", ""), "--relay-secret-file FILE"},
		"shard: no room":                     {of("shard-1", "--capacity-rooms", "0"), "--capacity-rooms 0"},
		"agent: no certificate":              {of("agent-1", "--tls-cert-file", ""), "--tls-cert-file"},
		"agent: a certificate that is none":  {of("agent-1", "--tls-cert-file", bad), bad},
		"agent: nobody may log in":           {of("agent-1", "--login-keys-file", ""), "nothing says who may log in"},
		"agent: login keys that are none":    {of("agent-1", "--login-keys-file", bad), bad},
		"agent: a proxy that is none":        {of("agent-1", "--proxy", "x"), "--proxy"},
		"drain: no shard":                    {[]string{"drain"}, "SHARD"},
		"drain: no engine":                   {[]string{"drain", "1"}, "--engine URL is required"},
		"drain: parts of a second":           {[]string{"drain", "1", "--deadline", "1500ms"}, "whole seconds"},
		"shards: a time that is none":        {[]string{"shards", "--engine", "nats://127.0.0.1:1", "--timeout", "0s"}, "--timeout"},
	} {
		code, out, says := executeWith(t.Context(), "", c.args...)
		if code != exitUsage || !strings.Contains(says, c.says) || strings.Contains(says, "hunter2") || out != "" {
			t.Errorf("%s: exit %d, %q %q; want exit 2 and %q", name, code, out, says, c.says)
		}
	}
}

// taken holds a TCP port.
func taken(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

func TestPortsInUse(t *testing.T) {
	busy := taken(t)
	udp, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	port := udp.LocalAddr().(*net.UDPAddr).Port
	for name, c := range map[string]struct{ args []string }{
		"Agent":   {[]string{"--listen", busy}},
		"metrics": {[]string{"--listen", "127.0.0.1:0", "--metrics-listen", busy}},
		"UDP":     {[]string{"--listen", "127.0.0.1:0", "--udp-port", fmt.Sprint(port)}},
	} {
		t.Run(name, func(t *testing.T) {
			if name != "UDP" {
				c.args = append(c.args, "--udp-port", fmt.Sprint(freeport.Row(t, 2)))
			}
			code, out, says := executeWith(t.Context(), "", append([]string{"all", "--data-dir", filepath.Join(t.TempDir(), "data")}, c.args...)...)
			last := says[strings.LastIndex(strings.TrimSpace(says), "\n")+1:]
			if code != exitFailed || !strings.Contains(last, "address already in use") || out != "" {
				t.Errorf("exit %d, %q; the last line is %q", code, out, last)
			}
		})
	}
}

func TestTwoProcessesDoNotShareAFolder(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var out output
	ended := make(chan int, 1)
	go func() {
		code, _ := execute(ctx, &out, "all", "--data-dir", data, "--listen", "127.0.0.1:0", "--udp-port", fmt.Sprint(freeport.Row(t, 2)))
		ended <- code
	}()
	awaitText(t, &out, "  agent", ended)
	code, _, says := executeWith(t.Context(), "", "all", "--data-dir", data, "--listen", "127.0.0.1:0", "--udp-port", fmt.Sprint(freeport.Row(t, 2)))
	if code != exitUsage || !strings.Contains(says, "another process works in this folder") {
		t.Errorf("exit %d, %q", code, says)
	}
	stop()
	if code := <-ended; code != 0 {
		t.Errorf("exit %d", code)
	}
}

func TestOperatorsAreToldThatNobodyAnswers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "layout")
	if code, _, says := executeWith(t.Context(), "", "init", dir); code != 0 {
		t.Fatal(says)
	}
	code, _, says := executeWith(t.Context(), "", "shards", "--config", filepath.Join(dir, "operator-admin", "operator.yaml"),
		"--engine", "tls://"+taken(t), "--timeout", "300ms")
	if code != exitFailed || !strings.Contains(says, "no connection to tls://127.0.0.1:") {
		t.Errorf("exit %d, %q", code, says)
	}
}
