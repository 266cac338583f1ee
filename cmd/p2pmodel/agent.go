package main

import (
	"net"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"p2pmodel/core/shard/agent"
	"p2pmodel/core/shard/engine/layout"
	"p2pmodel/core/shard/service"
)

// agentFlags are the command line of p2pmodel agent.
type agentFlags struct {
	serverFlags
	engineFlags
	loginFlags
	tlsFlags
	limitFlags
	name, listen string
	engineUser   string
	proxies      []string
}

// limitFlags bound what clients cost an Agent; those that are left out have
// agent.Limits' defaults.
type limitFlags struct{ limits agent.Limits }

func (f *limitFlags) add(flags *pflag.FlagSet) {
	l := &f.limits
	flags.IntVar(&l.Sessions, "max-sessions", 10000, "how many `sessions` are attached at once")
	flags.IntVar(&l.Connections, "max-connections", 20000, "how many TCP `connections` there are at once")
	flags.IntVar(&l.ConnectionsPerAddress, "connections-per-address", 256, "how many of them one address may have; a /64 is one address")
	flags.Float64Var(&l.LoginRate, "login-rate", 5, "`logins` and resumptions a second that one address may try")
	flags.IntVar(&l.LoginBurst, "login-burst", 20, "how many of them at once")
	flags.Float64Var(&l.RequestRate, "request-rate", 20, "`requests` a second of one session")
	flags.IntVar(&l.RequestBurst, "request-burst", 40, "how many of them at once")
}

func (f *limitFlags) check() error {
	l := f.limits
	if l.Sessions < 1 || l.Connections < 1 || l.ConnectionsPerAddress < 1 || l.LoginRate <= 0 || l.LoginBurst < 1 || l.RequestRate <= 0 || l.RequestBurst < 1 {
		return usage("limits of the Agent (--max-sessions to --request-burst) are more than 0")
	}
	return nil
}

// tlsFlags name a certificate.
type tlsFlags struct{ tlsCertFile, tlsKeyFile string }

func (f *tlsFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.tlsCertFile, "tls-cert-file", "", "PEM `FILE` with the certificate that clients see, and those up to its root")
	flags.StringVar(&f.tlsKeyFile, "tls-key-file", "", "PEM `FILE` with its key")
}

func (f *tlsFlags) certificate(s *service.Service) (*service.Certificate, error) {
	if f.tlsCertFile == "" || f.tlsKeyFile == "" {
		return nil, usage("--tls-cert-file and --tls-key-file are required: clients come by TLS only")
	}
	c, err := service.LoadCertificate(f.tlsCertFile, f.tlsKeyFile)
	if err != nil {
		return nil, usage("--tls-cert-file: %w", err)
	}
	s.Watch("certificate", c.Load, c.Files()...)
	return c, nil
}

func newAgentCommand() *cobra.Command {
	var f agentFlags
	cmd := &cobra.Command{
		Use:   "agent --listen HOST:PORT --tls-cert-file F --tls-key-file F --engine URL --login-keys-file F",
		Short: "Run an Agent: what clients reach, by TLS 1.3",
		Long: `Run an Agent. It is the only part of the system that clients reach, besides the
UDP servers: it checks what they ask for and passes it on to the shards by the
engine. It opens all connections to the inside itself. Any number of Agents stand
side by side; players resume at another one when theirs goes.

On SIGTERM it tells its clients to go on elsewhere, finishes their requests, and
ends.`,
		Example: `  p2pmodel agent --name agent-1 --listen 0.0.0.0:443 --tls-cert-file agent.crt --tls-key-file agent.key \
      --engine tls://10.0.0.1:4222 --engine-seed-file engine.seed --engine-ca-file ca.crt --login-keys-file login.pub
  p2pmodel agent --config agent.yaml`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := f.serverFlags.service(cmd)
			if err != nil {
				return err
			}
			if err := f.build(s); err != nil || f.checkOnly {
				return err
			}
			return s.Run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	f.serverFlags.add(flags)
	f.engineFlags.add(flags)
	f.loginFlags.add(flags)
	f.tlsFlags.add(flags)
	f.limitFlags.add(flags)
	flags.StringVar(&f.name, "name", "1", "`NAME` of this Agent among all")
	flags.StringVar(&f.engineUser, "engine-user", "", "`USER` as which the engine knows it; replicas may share one (default: agent-NAME)")
	flags.StringVar(&f.listen, "listen", "", "`HOST:PORT` that clients come to (required)")
	flags.StringSliceVar(&f.proxies, "proxy", nil, "`prefix` of balancers that send the PROXY protocol, version 2, before each connection; may be repeated")
	return cmd
}

// build makes the parts of the process.
func (f *agentFlags) build(s *service.Service) error {
	if err := checkListenFlag("listen", f.listen); err != nil {
		return err
	}
	if err := f.limitFlags.check(); err != nil {
		return err
	}
	proxies, err := parsePrefixes("--proxy", f.proxies)
	if err != nil {
		return err
	}
	certificate, err := f.certificate(s)
	if err != nil {
		return err
	}
	who, err := f.authenticator(s)
	if err != nil {
		return err
	}
	if err := f.engineFlags.check(); err != nil || f.checkOnly {
		return err
	}
	if f.engineUser == "" {
		f.engineUser = layout.AgentUser(f.name)
	}
	e, err := f.connect(s, f.engineUser, 0)
	if err != nil {
		return err
	}
	_, err = addAgent(s, agent.Config{Name: f.name, GetCertificate: certificate.Get, Login: who, Engine: e, Proxies: proxies, Limits: f.limits}, f.listen)
	return err
}

// addAgent listens and makes the Agent a part of the process; it gives where that
// listens.
func addAgent(s *service.Service, cfg agent.Config, listen string) (string, error) {
	name := layout.AgentUser(cfg.Name)
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return "", err // names address and cause
	}
	cfg.Listener, cfg.Log, cfg.Metrics = l, s.Log(), serverMetrics(s, name)
	server, err := agent.New(cfg)
	if err != nil {
		l.Close()
		return "", usage("%w", err)
	}
	s.Add(service.Server{Name: name, Run: server.Run, Ready: server.Ready})
	return l.Addr().String(), nil
}
