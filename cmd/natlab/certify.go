package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"p2pmodel/nat"
	"p2pmodel/nat/certify"
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
			var errs []error
			if parallel < 1 {
				errs = append(errs, fmt.Errorf("--parallel must be at least 1, not %d", parallel))
			}
			behaviors := make([]nat.Behavior, len(args))
			for i, text := range args {
				b, err := nat.ParseBehavior(text)
				if err != nil {
					errs = append(errs, err)
				}
				behaviors[i] = b
			}
			if err := errors.Join(errs...); err != nil {
				return err
			}
			if err := kernel.Enter(); err != nil {
				return err
			}
			return certifyAll(cmd.Context(), cmd.OutOrStdout(), args, behaviors, parallel, verbose)
		},
	}
	cmd.Flags().IntVar(&parallel, "parallel", 4, "how many NATs are measured at once")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "print the evidence for each axis, of those as well that are as declared")
	return cmd
}

// certification is the outcome for one behaviour.
type certification struct {
	text   string // as the user wrote it
	result certify.Result
	err    error
	done   chan struct{}
}

// certifyAll measures each behaviour in a lab of its own and prints a line each,
// in their order, as soon as those before are there.
func certifyAll(ctx context.Context, w io.Writer, texts []string, behaviors []nat.Behavior, parallel int, verbose bool) error {
	ctx, cancel := context.WithCancel(ctx)
	all := make([]*certification, len(behaviors))
	slots := make(chan struct{}, parallel)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for i, b := range behaviors {
		c := &certification{text: texts[i], done: make(chan struct{})}
		all[i] = c
		wg.Go(func() {
			defer close(c.done)
			slots <- struct{}{}
			defer func() { <-slots }()
			if c.err = ctx.Err(); c.err == nil {
				c.result, c.err = certifyOne(ctx, b)
			}
		})
	}
	color := colorful(w)
	same := true
	for _, c := range all {
		<-c.done
		if c.err == nil {
			c.err = c.result.Err
		}
		if c.err != nil {
			return fmt.Errorf("behaviour %q: %w", c.text, c.err)
		}
		same = same && c.result.OK()
		c.print(w, color, verbose)
	}
	if !same {
		return errUnexpected
	}
	return nil
}

// print writes the line: verdict, what was declared, what was measured (below
// each other on a narrow terminal); and the evidence where it differs or is asked for.
func (c *certification) print(w io.Writer, color, verbose bool) {
	r := c.result
	verdict, code := "✓ as declared", "32"
	if !r.OK() {
		verdict, code = "✗ DIFFERENT  ", "31"
	}
	if color {
		verdict = "\x1b[" + code + "m" + verdict + "\x1b[0m"
	}
	head, gap := fmt.Sprintf("%s  %.1f s", verdict, r.Duration.Seconds()), "  "
	line := "declared " + r.Declared + gap + "measured " + r.Measured
	if f := screen(w); f != nil && utf8.RuneCountInString(head+gap+line) > width(f) {
		gap = "\n    "
	}
	fmt.Fprintf(w, "%s%sdeclared %s%smeasured %s\n", head, gap, r.Declared, gap, r.Measured)
	if r.OK() && !verbose {
		return
	}
	for _, f := range r.Findings {
		if f.Declared == f.Measured && !verbose {
			continue
		}
		fmt.Fprintf(w, "    %s: declared %s, measured %s\n", f.Axis, f.Declared, f.Measured)
		for _, line := range f.Evidence {
			fmt.Fprintf(w, "      %s\n", line)
		}
	}
}

// certifyOne builds the smallest lab that has the NAT and measures it.
func certifyOne(ctx context.Context, b nat.Behavior) (result certify.Result, err error) {
	lab := &sim.Lab{
		Routers: []sim.Router{{Name: "nat", NAT: &b, Addresses: addresses(b)}},
		Hosts:   []sim.Host{{Name: "inside", Uplinks: []sim.Uplink{{Name: sim.DefaultUplink, Behind: "nat"}}}},
	}
	if err := lab.Validate(); err != nil {
		return result, err
	}
	net, err := kernel.Fabric{}.Build(ctx, lab, sim.Options{})
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, net.Close()) }()
	router, err := net.Router("nat")
	if err != nil {
		return result, err
	}
	return router.Certify(ctx)
}

// addresses is how many external addresses a NAT needs to show its pooling.
func addresses(b nat.Behavior) int {
	if b.Pooling != nat.PoolPaired {
		return 2
	}
	return 1
}
