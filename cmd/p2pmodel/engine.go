package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"

	nats "github.com/nats-io/nats-server/v2/server"
	"github.com/spf13/cobra"

	"p2pmodel/core/shard/engine/natsengine"
	"p2pmodel/core/shard/engine/natsserver"
	"p2pmodel/core/shard/service"
)

func newEngineCommand() *cobra.Command {
	var f serverFlags
	var natsFile string
	cmd := &cobra.Command{
		Use:   "engine --nats-config-file FILE",
		Short: "Run an engine: the NATS server that Agents, directories and shards meet at",
		Long: `Run an engine: a NATS server with JetStream, within this program. Alone it is
enough; three or five of them form a cluster that outlives the loss of one or two.

The file is a configuration of nats-server; p2pmodel init makes one for each
engine of a layout, with the accounts that keep shards and Agents apart. It is
read again on SIGHUP, and when it or a certificate in its folder changes: so shards
and Agents are added without a restart. A nats-server of your own takes the
same file.`,
		Example: "  p2pmodel engine --nats-config-file engine-1/nats.conf --metrics-listen 127.0.0.1:9101",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := f.service(cmd)
			if err != nil {
				return err
			}
			if natsFile == "" {
				return usage("--nats-config-file FILE is required; p2pmodel init makes one")
			}
			if _, err := os.Stat(natsFile); err != nil {
				return usage("--nats-config-file: %w", err)
			}
			if err := new(nats.Options).ProcessConfigFile(natsFile); err != nil {
				return usage("--nats-config-file: %w", err)
			}
			if f.checkOnly {
				return nil
			}
			server, err := natsserver.New(natsserver.Config{File: natsFile, Log: s.Log(), Metrics: serverMetrics(s, "engine")})
			if err != nil {
				return err
			}
			s.Add(service.Server{Name: "engine", Run: server.Run, Ready: server.Ready})
			s.Watch("engine configuration", server.Reload, besideEngine(natsFile)...)
			s.Started(func() { s.Log().Info("engine: ready", "listen", server.Addr()) })
			return s.Run(cmd.Context())
		},
	}
	f.add(cmd.Flags())
	cmd.Flags().StringVar(&natsFile, "nats-config-file", "", "`FILE` with the configuration of nats-server (required)")
	return cmd
}

// addEngine makes a connection to the engine a part of the process: it is closed
// when all that uses it has stopped. Nobody waits for it to be there: servers say
// themselves what they cannot do without.
func addEngine(s *service.Service, name string, e *natsengine.Engine) {
	s.Add(service.Server{Name: name, Run: func(ctx context.Context) error {
		<-ctx.Done()
		return e.Close()
	}})
}

// besideEngine are the files to watch: the configuration, and the certificates
// and keys in its folder.
func besideEngine(natsFile string) []string {
	files := []string{natsFile}
	for _, pattern := range []string{"*.crt", "*.key"} {
		more, _ := filepath.Glob(filepath.Join(filepath.Dir(natsFile), pattern))
		files = append(files, more...)
	}
	return slices.Compact(files)
}
