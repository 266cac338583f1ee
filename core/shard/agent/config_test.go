package agent_test

import (
	"crypto/tls"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"p2pmodel/core/shard/agent"
	"p2pmodel/core/shard/engine/memory"
	"p2pmodel/core/shard/login"
)

func TestConfigurationsThatAreWrong(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	e := memory.NewHub().Connect("agent")
	defer e.Close()
	for _, row := range []struct {
		change func(*agent.Config)
		want   string // empty: it is right
	}{
		{func(*agent.Config) {}, ""},
		{func(c *agent.Config) { c.Name = "" }, "name"},
		{func(c *agent.Config) { c.Name = "a.b" }, "name"},
		{func(c *agent.Config) { c.Listener = nil }, "listener"},
		{func(c *agent.Config) { c.GetCertificate = nil }, "certificate"},
		{func(c *agent.Config) { c.Login = nil }, "log in"},
		{func(c *agent.Config) { c.Engine = nil }, "engine"},
		{func(c *agent.Config) { c.Limits.Sessions = -1 }, "Sessions is negative"},
		{func(c *agent.Config) { c.Limits.LoginRate = -1 }, "LoginRate is negative"},
		{func(c *agent.Config) { c.Times.Drain = -time.Second }, "Drain is negative"},
	} {
		cfg := agent.Config{
			Name: "agent-1", Listener: l, Engine: e, Login: &login.Tokens{},
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, nil },
		}
		row.change(&cfg)
		_, err := agent.New(cfg)
		if (err == nil) != (row.want == "") || err != nil && !strings.Contains(err.Error(), row.want) {
			t.Errorf("got %v, want an error with %q", err, row.want)
		}
	}
}

func TestReadyWhileItServesAndReachesTheInside(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		a := w.run("agent-1", nil)
		synctest.Wait()
		ready := func(when, want string) {
			t.Helper()
			if err := a.Ready(); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", when, err, want)
			}
		}
		ready("at first", "")
		a.engine.Disconnect()
		ready("without the inside", "no connection to the inside")
		a.engine.Reconnect()
		ready("with it again", "")
		a.stop()
		<-a.ended
		ready("at the end", "ending")
	})
}
