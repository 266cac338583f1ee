package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"p2pmodel/ci/bench/measure"
	"p2pmodel/scenarios/connect"
)

func newConnectCommand() *cobra.Command {
	var folder, program string
	var rounds int
	cmd := &cobra.Command{
		Use: "connect", Short: "Measure how soon peers hear each other: ours and agents of pion/ice",
		Long: `Measure how long two peers behind every pair of classic NATs take from when both were
introduced until the first payload arrives, and until the first arrives directly: ours beside
agents of pion/ice. It runs natlab connect; see there.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := measureConnect(cmd.Context(), program, rounds)
			if err != nil {
				return err
			}
			return finish(folder, p)
		},
	}
	reportFlag(cmd, &folder)
	cmd.Flags().StringVar(&program, "natlab", "bin/natlab", "the `program`, with pion-ice beside it")
	cmd.Flags().IntVar(&rounds, "rounds", 3, "how often each meets each pair")
	return cmd
}

func measureConnect(ctx context.Context, program string, rounds int) (*measure.Part, error) {
	cmd := exec.CommandContext(ctx, program, "connect", "--rounds", strconv.Itoa(rounds), "--format", "json")
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // it takes its labs down
	cmd.WaitDelay = 20 * time.Second
	text, err := cmd.Output()
	var status *exec.ExitError
	if errors.As(err, &status) && status.ExitCode() == 1 {
		err = nil // a bar was missed: the figures say so
	}
	if err != nil {
		return nil, fmt.Errorf("%s connect: %w", program, err)
	}
	var r connect.Result
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("%s connect: %w", program, err)
	}
	p := connectPart(&r)
	p.Machine = measure.ThisMachine(ctx)
	return p, nil
}

// connectPart has a sample for each pair of NATs, the median of its rounds: what pairs have in common
// is the order.
func connectPart(r *connect.Result) *measure.Part {
	p := &measure.Part{
		Name: "connect", Title: "Connections", At: time.Now(), Raw: r,
		Text: fmt.Sprintf("Two peers behind each pair of the four classic NATs, %.0f ms of round trip between them and half of it to the servers, on real NATs of namespaces; from when both "+
			"were introduced to each other. Ours, and agents of pion/ice: as it comes, tuned (checks each 20 ms, no wait for better pairs but 500 ms for relays), and eager (no wait at all). "+
			"Each stack meets each pair in %d alternating rounds; a sample is the median of a pair.", r.RTT, r.Rounds),
	}
	for _, figure := range []struct {
		title string
		of    func(connect.Cell) connect.Times
	}{
		{"To the first byte", func(c connect.Cell) connect.Times { return c.FirstByte }},
		{"To the first byte that came directly, pairs where all find a direct path", func(c connect.Cell) connect.Times { return c.Direct }},
	} {
		p.Comparisons = append(p.Comparisons, connectComparison(r, figure.title, figure.of))
	}
	return p
}

func connectComparison(r *connect.Result, title string, of func(connect.Cell) connect.Times) measure.Comparison {
	c := measure.Comparison{Title: title, Unit: "s", Ours: "ours", Reference: "pion"}
	never := map[string]bool{} // pairs
	pair := func(c connect.Cell) string { return c.A + " × " + c.B }
	failed := 0
	for _, cell := range r.Cells {
		if failed += cell.Failed; of(cell).Runs == 0 {
			never[pair(cell)] = true
		}
		if c.System(cell.Stack) == nil {
			c.Systems = append(c.Systems, measure.System{Name: cell.Stack})
		}
	}
	var pairs []string
	for _, cell := range r.Cells {
		if never[pair(cell)] {
			continue
		}
		s := c.System(cell.Stack)
		s.Samples = append(s.Samples, of(cell).Median/1e3)
		if cell.Stack == c.Systems[0].Name {
			pairs = append(pairs, pair(cell))
		}
	}
	c.Text = fmt.Sprintf("%d pairs: %s.", len(pairs), strings.Join(pairs, ", "))
	if failed > 0 {
		c.Text += fmt.Sprintf(" %d runs failed.", failed)
	}
	for _, g := range []measure.Goal{{System: "ours", Than: "pion", Times: 8}, {System: "ours", Than: "pion-tuned", Times: 1.8}, {System: "ours", Than: "pion-eager", Times: 1.8}} {
		if c.System(g.Than) != nil {
			c.Goals = append(c.Goals, g)
		}
	}
	return c
}
