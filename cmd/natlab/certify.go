package main

import (
	"context"
	"fmt"
	"sync"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"p2pmodel/nat"
	"p2pmodel/nat/certify"
	"p2pmodel/scenarios/runner"
	"p2pmodel/sim"
	"p2pmodel/sim/kernel"
)

func newCertifyCommand() *cobra.Command {
	var parallel int
	var verbose bool
	cmd := &cobra.Command{
		Use:   "certify BEHAVIOUR …",
		Short: "Build NATs and measure from outside whether they are what was declared",
		Long: `Build a NAT with each behaviour and measure it from its outer segment, as every
scenario does with its NATs. A behaviour is a preset, or axes, or both:

  full-cone, restricted-cone, port-restricted-cone, symmetric, linux
  mapping=EIM,filtering=ADF,ports=sequential,timeout=5s
  symmetric,ports=random`,
		Example: `  natlab certify full-cone symmetric
  natlab certify mapping=ADM,filtering=EIF,ports=random -v`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			behaviors := make([]nat.Behavior, len(args))
			for i, text := range args {
				b, err := nat.ParseBehavior(text)
				if err != nil {
					return fmt.Errorf("behaviour %d, %q: %w", i+1, text, err)
				}
				behaviors[i] = b
			}
			if parallel < 1 {
				return fmt.Errorf("--parallel must be at least 1")
			}
			if err := kernel.Enter(); err != nil {
				return err
			}
			return certifyAll(cmd, behaviors, parallel, verbose)
		},
	}
	cmd.Flags().IntVar(&parallel, "parallel", 4, "how many NATs are measured at once")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "print the evidence for each axis")
	return cmd
}

// certifyAll measures each behaviour in a lab of its own and prints a line each.
func certifyAll(cmd *cobra.Command, behaviors []nat.Behavior, parallel int, verbose bool) error {
	results := make([]certify.Result, len(behaviors))
	errs := make([]error, len(behaviors))
	slots := runner.NewSlots(parallel)
	var wg sync.WaitGroup
	for i, b := range behaviors {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			results[i], errs[i] = certifyOne(cmd.Context(), b)
		})
	}
	wg.Wait()
	w := cmd.OutOrStdout()
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "DECLARED\tMEASURED\tVERDICT\tTIME")
	same := true
	for i, r := range results {
		if errs[i] != nil {
			_ = tw.Flush()
			return fmt.Errorf("%s: %w", behaviors[i], errs[i])
		}
		verdict := "as declared"
		if !r.OK() {
			verdict, same = "DIFFERENT", false
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%.2f s\n", r.Declared, r.Measured, verdict, r.Duration.Seconds())
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for i, r := range results {
		if !verbose && r.OK() {
			continue
		}
		fmt.Fprintf(w, "\n%s\n", behaviors[i])
		for _, f := range r.Findings {
			fmt.Fprintf(w, "  %s: declared %s, measured %s\n", f.Axis, f.Declared, f.Measured)
			for _, line := range f.Evidence {
				fmt.Fprintf(w, "    %s\n", line)
			}
		}
	}
	if !same {
		return errUnexpected
	}
	return nil
}

// certifyOne builds the smallest lab that has the NAT and measures it.
func certifyOne(ctx context.Context, b nat.Behavior) (certify.Result, error) {
	lab := &sim.Lab{
		Routers: []sim.Router{{Name: "nat", NAT: &b, Addresses: 1}},
		Hosts:   []sim.Host{{Name: "inside", Uplinks: []sim.Uplink{{Name: sim.DefaultUplink, Behind: "nat"}}}},
	}
	if err := lab.Validate(); err != nil {
		return certify.Result{}, err
	}
	net, err := kernel.Fabric{}.Build(ctx, lab, sim.Options{})
	if err != nil {
		return certify.Result{}, err
	}
	defer net.Close()
	router, err := net.Router("nat")
	if err != nil {
		return certify.Result{}, err
	}
	return router.Certify(ctx)
}
