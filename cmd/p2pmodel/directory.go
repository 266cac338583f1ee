package main

import (
	"net"

	"github.com/spf13/cobra"

	"p2pmodel/core/shard/directory"
	"p2pmodel/core/shard/engine/layout"
	"p2pmodel/core/shard/service"
)

// directoryFlags are the command line of p2pmodel directory.
type directoryFlags struct {
	serverFlags
	engineFlags
	index, members, replicas int
	renumber                 bool
	historyFile              string
}

func newDirectoryCommand() *cobra.Command {
	var f directoryFlags
	cmd := &cobra.Command{
		Use:   "directory --engine URL [--index N --members N --replicas N]",
		Short: "Run a directory: which shards live, who has which room, which Agent holds which session",
		Long: `Run a directory. One is enough; of three, any one may die. They keep what they
know in the engine, and agree by it: nothing of theirs is on their own disks.

All members have to be started with the same --members, each with an --index of
its own, from 0.`,
		Example: `  p2pmodel directory --engine tls://10.0.0.1:4222 --engine-seed-file user.nk --engine-ca-file ca.crt \
      --engine-cert-file tls.crt --engine-key-file tls.key --index 0 --members 3 --replicas 3
  p2pmodel directory --config directory-0/directory.yaml`,
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
	flags.IntVar(&f.index, "index", 0, "which `number` of the members this one is, from 0")
	flags.IntVar(&f.members, "members", 1, "how many `members` there are: 1, 3 or 5")
	flags.IntVar(&f.replicas, "replicas", 1, "on how many engines each entry is kept: 1, 3 or 5, and at most as many as there are")
	flags.BoolVar(&f.renumber, "renumber", false, "start although other members were started with another --members and did not stop in good order; none of them may run any more")
	flags.StringVar(&f.historyFile, "history-file", "", "`FILE` to which each change of a room's owner is added as a line of JSON, for those who check them; SIGHUP opens it anew (default: none)")
	return cmd
}

func (f *directoryFlags) build(s *service.Service) error {
	odd := map[int]bool{1: true, 3: true, 5: true}
	switch {
	case !odd[f.members]:
		return usage("--members %d: want 1, 3 or 5, so that there is a majority", f.members)
	case f.index < 0 || f.index >= f.members:
		return usage("--index %d: want 0 to %d, one below --members", f.index, f.members-1)
	case !odd[f.replicas]:
		return usage("--replicas %d: want 1, 3 or 5", f.replicas)
	}
	if err := f.engineFlags.check(); err != nil || f.checkOnly {
		return err
	}
	cfg := directory.Config{Index: f.index, Members: f.members, Renumber: f.renumber}
	if f.historyFile != "" {
		h, err := openLines(s, "history", f.historyFile)
		if err != nil {
			return usage("--history-file: %w", err)
		}
		cfg.History = h
	}
	e, err := f.connect(s, layout.DirectoryUser(f.index), f.replicas)
	if err != nil {
		return err
	}
	cfg.Engine = e
	return addDirectory(s, cfg)
}

// addDirectory makes a directory a part of the process.
func addDirectory(s *service.Service, cfg directory.Config) error {
	cfg.Log, cfg.Metrics = s.Log(), serverMetrics(s, layout.DirectoryUser(cfg.Index))
	server, err := directory.New(cfg)
	if err != nil {
		return usage("%w", err)
	}
	s.Add(service.Server{Name: layout.DirectoryUser(cfg.Index), Run: server.Run, Ready: server.Ready})
	return nil
}

// checkListenFlag checks a HOST:PORT to listen on.
func checkListenFlag(flag, address string) error {
	if address == "" {
		return usage("--%s HOST:PORT is required", flag)
	}
	if _, err := net.ResolveTCPAddr("tcp", address); err != nil {
		return usage("--%s %q: want HOST:PORT, as in 0.0.0.0:443 or [::]:443: %w", flag, address, err)
	}
	return nil
}
