package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"text/tabwriter"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"p2pmodel/nat"
	"p2pmodel/nat/certify"
	"p2pmodel/sim"
	"p2pmodel/sim/kernel"
)

func newCertifyCommand() *cobra.Command {
	var opt certifyOptions
	cmd := &cobra.Command{
		Use:   "certify BEHAVIOUR …",
		Short: "Build NATs and measure from outside whether they are what was declared",
		Long: `Build a NAT with each behaviour and measure it from its outer segment, as every
scenario does with its NATs. A behaviour is a preset, or axes, or both:

  full-cone, port-restricted-cone, symmetric, linux, … (natlab presets lists them)
  mapping=EIM,filtering=ADF,ports=sequential,timeout=5s
  symmetric,ports=random

With --rfc4787 it also says which of the requirements of RFC 4787 the NAT meets.
The exit status does not depend on that: a NAT may be declared as one that meets
none.`,
		Example: `  natlab certify full-cone symmetric
  natlab certify mapping=ADM,filtering=EIF,ports=random -v
  natlab certify --rfc4787 --patience 5m full-cone,hairpin=external`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var errs []error
			if opt.parallel < 1 {
				errs = append(errs, fmt.Errorf("--parallel must be at least 1, not %d", opt.parallel))
			}
			if opt.Patience < 0 || opt.Patience > certify.MaxPatience {
				errs = append(errs, fmt.Errorf("--patience is at most %s, not %s", certify.MaxPatience, opt.Patience))
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
			return certifyAll(cmd.Context(), cmd.OutOrStdout(), args, behaviors, opt)
		},
	}
	cmd.Flags().IntVar(&opt.parallel, "parallel", 4, "how many NATs are measured at once")
	cmd.Flags().BoolVarP(&opt.verbose, "verbose", "v", false, "print the evidence for each axis, of those as well that are as declared")
	cmd.Flags().BoolVar(&opt.All, "all", false, "measure what takes longer, too: limits of thousands of mappings, times that are not named")
	cmd.Flags().BoolVar(&opt.asJSON, "json", false, "print JSON, an object a behaviour")
	cmd.Flags().BoolVar(&opt.Requirements, "rfc4787", false, "report about the requirements of RFC 4787")
	cmd.Flags().DurationVar(&opt.Patience, "patience", certify.DefaultPatience, "the longest time for which a mapping is left idle: longer times are not measured; 5m decides all that RFC 4787 requires")
	return cmd
}

// certifyOptions are the command's flags.
type certifyOptions struct {
	certify.Options
	parallel        int
	verbose, asJSON bool
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
func certifyAll(ctx context.Context, w io.Writer, texts []string, behaviors []nat.Behavior, opt certifyOptions) error {
	ctx, cancel := context.WithCancel(ctx)
	all := make([]*certification, len(behaviors))
	slots := make(chan struct{}, opt.parallel)
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
				c.result, c.err = certifyOne(ctx, b, opt.Options)
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
		if err := c.print(w, color, opt); err != nil {
			return err
		}
	}
	if !same {
		return errUnexpected
	}
	return nil
}

// print writes the line: verdict, what was declared, what was measured (below
// each other on a narrow terminal); and the evidence where it differs or is asked for.
func (c *certification) print(w io.Writer, color bool, opt certifyOptions) error {
	r := c.result
	if opt.asJSON {
		return c.printJSON(w)
	}
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
	for _, f := range r.Findings {
		if f.Declared == f.Measured && !opt.verbose {
			continue
		}
		fmt.Fprintf(w, "    %s: declared %s, measured %s\n", f.Axis, f.Declared, f.Measured)
		for _, line := range f.Evidence {
			fmt.Fprintf(w, "      %s\n", line)
		}
	}
	return c.printRequirements(w, color, opt.verbose)
}

// printRequirements writes the table of RFC 4787's requirements, if there is one.
func (c *certification) printRequirements(w io.Writer, color, verbose bool) error {
	if len(c.result.Requirements) == 0 {
		return nil
	}
	var table strings.Builder
	tw := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	marks := map[certify.Verdict]string{certify.Met: "✓ met", certify.NotMet: "✗ not met", certify.NotTested: "○ not tested"}
	for _, q := range c.result.Requirements {
		fmt.Fprintf(tw, "    %s\t%s\t%s\t%s\t%s\n", q.ID, marks[q.Verdict], q.Level, q.Text, q.Why)
		for _, line := range q.Evidence {
			if verbose {
				fmt.Fprintf(tw, "\t\t\t\t  %s\n", line)
			}
		}
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	text := table.String()
	if color {
		text = strings.NewReplacer("✓ met", "\x1b[32m✓ met\x1b[0m", "✗ not met", "\x1b[31m✗ not met\x1b[0m").Replace(text)
	}
	_, err := io.WriteString(w, text)
	return err
}

// printJSON writes everything as one object.
func (c *certification) printJSON(w io.Writer) error {
	r := c.result
	type finding struct {
		Axis     string   `json:"axis"`
		Declared string   `json:"declared"`
		Measured string   `json:"measured"`
		Evidence []string `json:"evidence"`
	}
	all := make([]finding, len(r.Findings))
	for i, f := range r.Findings {
		all[i] = finding(f)
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(struct {
		Behavior     string                `json:"behavior"` // as the user wrote it
		AsDeclared   bool                  `json:"as_declared"`
		Declared     string                `json:"declared"`
		Measured     string                `json:"measured"`
		Seconds      float64               `json:"seconds"`
		Findings     []finding             `json:"findings"`
		Requirements []certify.Requirement `json:"requirements,omitempty"`
	}{c.text, r.OK(), r.Declared, r.Measured, r.Duration.Seconds(), all, r.Requirements})
}

// certifyOne builds the smallest lab that has the NAT and measures it.
func certifyOne(ctx context.Context, b nat.Behavior, opt certify.Options) (result certify.Result, err error) {
	lab := &sim.Lab{
		Routers: []sim.Router{{Name: "nat", NAT: &b, Addresses: addresses(b, opt)}},
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
	return router.Measure(ctx, opt)
}

// addresses is how many external addresses a NAT needs to show its pooling.
func addresses(b nat.Behavior, opt certify.Options) int {
	if b.Pooling != nat.PoolPaired || (opt.Requirements || opt.All) && b.Kind == nat.KindRFC {
		return 2
	}
	return 1
}
