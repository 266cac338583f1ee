package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"p2pmodel/ci/bench/agent"
	"p2pmodel/ci/bench/measure"
)

func newAgentCommand() *cobra.Command {
	var folder string
	r := agent.Run{Say: say}
	cmd := &cobra.Command{
		Use: "agent", Short: "Measure a request through an Agent, beside NATS alone and a call in the process",
		Long: `Measure what a client's request to a lobby takes through TLS, the Agent and NATS, through NATS alone,
and as a call in the process, and what requests and sessions cost as there are more clients.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if r.Rounds < 1 || len(r.Clients) == 0 {
				return usageError{fmt.Errorf("--rounds %d, --clients %v: want one or more", r.Rounds, r.Clients)}
			}
			for _, n := range r.Clients {
				if n < 1 || n > agent.MostClients {
					return usageError{fmt.Errorf("--clients %d: want 1 to %d", n, agent.MostClients)}
				}
			}
			return inFolder(folder, func(dir string) (*measure.Part, error) { return r.Do(cmd.Context(), dir) })
		},
	}
	reportFlag(cmd, &folder)
	cmd.Flags().IntVar(&r.Rounds, "rounds", 3, "how often all are measured")
	cmd.Flags().IntSliceVar(&r.Clients, "clients", []int{100, 500, 1000, 5000}, "how many `clients` there are at the places of the curve")
	return cmd
}
