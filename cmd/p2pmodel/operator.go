package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/protobuf/encoding/protojson"

	"p2pmodel/core/shard"
	"p2pmodel/core/shard/api/insidev1"
	"p2pmodel/core/shard/engine/layout"
	"p2pmodel/core/shard/engine/natsengine"
	"p2pmodel/core/shard/rpc"
)

// defaultOperator is the operator of layouts that name none.
const defaultOperator = "admin"

// operatorFlags are of commands that ask directories.
type operatorFlags struct {
	engineFlags
	name    string
	timeout time.Duration
}

func (f *operatorFlags) add(flags *pflag.FlagSet) {
	f.engineFlags.add(flags)
	flags.StringVar(&f.name, "operator", defaultOperator, "`NAME` by which the engine knows who asks")
	flags.DurationVar(&f.timeout, "timeout", 10*time.Second, "how long to wait for an answer")
}

// ask connects and lets the function ask.
func (f *operatorFlags) ask(ctx context.Context, do func(ctx context.Context, c *rpc.Client) error) error {
	if err := f.engineFlags.check(); err != nil {
		return err
	}
	if f.timeout <= 0 {
		return usage("--timeout %v: want a time above 0", f.timeout)
	}
	e, err := natsengine.Connect(natsengine.Config{
		Servers: f.servers, Name: layout.OperatorUser(f.name),
		Credentials: natsengine.Credentials{SeedFile: f.seedFile, CAFile: f.caFile, CertFile: f.certFile, KeyFile: f.keyFile},
	})
	if err != nil {
		return usage("%w", err)
	}
	defer e.Close()
	waiting, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	if err := connected(waiting, e); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("no connection to %s within %v: is an engine there, and does it know this operator's key?", strings.Join(f.servers, ", "), f.timeout)
	}
	c, err := rpc.NewClient(rpc.ClientConfig{Engine: e, Timeout: f.timeout})
	if err != nil {
		return err
	}
	return do(ctx, c)
}

// connected waits for the connection.
func connected(ctx context.Context, e *natsengine.Engine) error {
	for {
		changed := e.Changed()
		if e.Connected() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func listShards(ctx context.Context, c *rpc.Client) ([]*insidev1.Shard, error) {
	answer, err := rpc.Call[insidev1.ListShardsResponse](ctx, c, shard.DirectorySubject("ListShards"), &insidev1.ListShardsRequest{}, rpc.Idempotent())
	return answer.GetShards(), err
}

func newShardsCommand() *cobra.Command {
	var f operatorFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "shards --engine URL",
		Short: "List the shards: which live, which drain, what they hold",
		Long: `List the shards as a directory knows them: alive, draining or dead, with their
rooms and players of so many that they take.`,
		Example: `  p2pmodel shards --config operator-admin/operator.yaml
  p2pmodel shards --engine nats://127.0.0.1:4222 --engine-seed-file p2pmodel-data/operator.nk`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.ask(cmd.Context(), func(ctx context.Context, c *rpc.Client) error {
				shards, err := listShards(ctx, c)
				if err != nil {
					return err
				}
				if asJSON {
					return printShardsJSON(cmd.OutOrStdout(), shards)
				}
				return printShards(cmd.OutOrStdout(), shards)
			})
		},
	}
	f.add(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "one object of JSON a line")
	return cmd
}

func printShards(w io.Writer, shards []*insidev1.Shard) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SHARD\tSTATE\tROOMS\tPLAYERS\tEPOCH")
	for _, s := range shards {
		fmt.Fprintf(t, "%s\t%s\t%d/%d\t%d/%d\t%d\n", s.Id, stateName(s.State), s.Rooms, s.CapacityRooms, s.Players, s.CapacityPlayers, s.Epoch)
	}
	return t.Flush()
}

func stateName(s insidev1.ShardState) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "SHARD_STATE_"))
}

func printShardsJSON(w io.Writer, shards []*insidev1.Shard) error {
	for _, s := range shards {
		text, err := protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}.Marshal(s)
		if err != nil {
			return err
		}
		var object map[string]any // protojson's spaces differ from run to run
		if err := json.Unmarshal(text, &object); err != nil {
			return err
		}
		object["state"] = stateName(s.State)
		if err := json.NewEncoder(w).Encode(object); err != nil {
			return err
		}
	}
	return nil
}

func newDrainCommand() *cobra.Command {
	var f operatorFlags
	var deadline time.Duration
	var cancel, wait bool
	cmd := &cobra.Command{
		Use:   "drain SHARD --engine URL",
		Short: "Empty a shard: no new rooms; those that it has finish, or are given to others",
		Long: `Empty a shard, so that it can be stopped with nobody noticing: it gets no new
rooms, and those that it has finish. With --deadline, those left then are given to
other shards; their players get new tickets, and direct paths between them live
on. --wait returns when the shard has no room any more. --cancel takes it back.`,
		Example: `  p2pmodel drain a --config operator-admin/operator.yaml --deadline 10m --wait
  p2pmodel drain a --config operator-admin/operator.yaml --cancel`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || args[0] == "" {
				return usage("want one SHARD; see %s --help", cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			id := args[0]
			switch {
			case deadline < 0 || deadline%time.Second != 0 || deadline > 365*24*time.Hour:
				return usage("--deadline %v: want whole seconds", deadline)
			case cancel && (deadline != 0 || wait):
				return usage("--cancel goes with neither --deadline nor --wait")
			}
			return f.ask(cmd.Context(), func(ctx context.Context, c *rpc.Client) error {
				answer, err := rpc.Call[insidev1.DrainShardResponse](ctx, c, shard.DirectorySubject("DrainShard"),
					&insidev1.DrainShardRequest{Shard: id, DeadlineSeconds: uint32(deadline / time.Second), Cancel: cancel}, rpc.Idempotent())
				if err != nil {
					return err
				}
				if cancel {
					_, err = fmt.Fprintf(cmd.OutOrStdout(), "shard %s takes rooms again; it has %d\n", id, answer.Rooms)
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "shard %s drains; it has %d rooms\n", id, answer.Rooms)
				if !wait {
					return nil
				}
				return awaitEmpty(ctx, c, id, cmd.OutOrStdout())
			})
		},
	}
	f.add(cmd.Flags())
	cmd.Flags().DurationVar(&deadline, "deadline", 0, "give rooms left after this `time` to other shards (default: they finish)")
	cmd.Flags().BoolVar(&cancel, "cancel", false, "let the shard take rooms again")
	cmd.Flags().BoolVar(&wait, "wait", false, "return when the shard is empty")
	return cmd
}

// awaitEmpty waits until a shard has no rooms.
func awaitEmpty(ctx context.Context, c *rpc.Client, id string, w io.Writer) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		shards, err := listShards(ctx, c)
		if err != nil {
			return err
		}
		found := false
		for _, s := range shards {
			if s.Id != id {
				continue
			}
			found = true
			if s.Rooms == 0 {
				_, err := fmt.Fprintf(w, "shard %s is empty\n", id)
				return err
			}
		}
		if !found {
			return fmt.Errorf("there is no shard %s any more", id)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
