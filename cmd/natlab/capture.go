//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"p2pmodel/sim/kernel/standing"
	"p2pmodel/sim/witness"
	"p2pmodel/sim/witness/pcapng"
)

// captureFlags are the flags of natlab capture.
type captureFlags struct {
	lab, at, write string
	count          int
	last           time.Duration
}

// errEnough ends a capture that has what it wanted.
var errEnough = errors.New("that is enough")

func newCaptureCommand() *cobra.Command {
	f := &captureFlags{}
	cmd := &cobra.Command{
		Use:   "capture HOST|ROUTER",
		Short: "Capture packets at a host or router of a lab that stands",
		Long: `Capture the packets that pass a host or a router, or internet, from now on until
Ctrl-C: a line each, or with --write a file that Wireshark and its like read, while it
grows. Of a router all interfaces are captured, so that each packet is seen before and
after it; --interface chooses one: uplink (the outside), or "to NODE".`,
		Example: `  natlab capture a --count 10
  natlab capture home --interface uplink --for 10s
  natlab capture a --write a.pcapng`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.count < 0 || f.last < 0 {
				return errors.New("--count and --for are not negative")
			}
			return f.run(cmd.Context(), args[0], cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	addLab(cmd, &f.lab)
	fl := cmd.Flags()
	fl.StringVarP(&f.at, "interface", "i", "", "one interface by its `name` (default: all)")
	fl.StringVarP(&f.write, "write", "w", "", "write a pcapng `file`; -: to standard output, for wireshark -k -i -")
	fl.IntVarP(&f.count, "count", "c", 0, "end after so many packets")
	fl.DurationVar(&f.last, "for", 0, "end after this time")
	cmd.ValidArgsFunction = completeFirst(standing.Description.HostNames, standing.Description.RouterNames)
	return cmd
}

func (f *captureFlags) run(ctx context.Context, node string, stdout, stderr io.Writer) (err error) {
	if f.write == "-" && screen(stdout) != nil {
		return errors.New("--write - writes a file of packets, and standard output is a terminal: pipe it (| wireshark -k -i -), or leave --write out for a line each")
	}
	lab, err := standing.Find(ctx, f.lab)
	if err != nil {
		return err
	}
	parent := ctx
	if f.last > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, f.last)
		defer cancel()
	}
	print := func(ps []witness.Packet) error { return printPackets(stdout, ps) }
	begin := func([]witness.Point) error { return nil }
	if f.write != "" {
		var out io.Writer = stdout
		var file *os.File
		defer func() {
			if file != nil {
				err = errors.Join(err, file.Close())
			}
		}()
		var w *pcapng.Writer
		// The file is made when there is a capture to be written.
		begin = func(points []witness.Point) (err error) {
			if f.write != "-" {
				if file, err = os.Create(f.write); err != nil {
					return err
				}
				out = file
			}
			if w, err = pcapng.NewWriter(out, points); err != nil {
				return err
			}
			return w.Flush()
		}
		print = func(ps []witness.Packet) error {
			for _, p := range ps {
				if err := w.Packet(p); err != nil {
					return err
				}
			}
			return w.Flush()
		}
	}
	seen, lost := 0, ""
	err = lab.Capture(ctx, node, f.at, standing.Capture{
		Points: func(points []witness.Point) error {
			for _, p := range points {
				fmt.Fprintf(stderr, "natlab: capturing at %s\n", p)
			}
			return begin(points)
		},
		Packets: func(ps []witness.Packet) error {
			if f.count > 0 {
				ps = ps[:min(len(ps), f.count-seen)]
			}
			if err := print(ps); err != nil {
				return err
			}
			if seen += len(ps); f.count > 0 && seen == f.count {
				return errEnough
			}
			return nil
		},
		Lost: func(why string) { lost = why },
	})
	ended := errors.Is(err, errEnough) || parent.Err() != nil || f.last > 0 && errors.Is(err, context.DeadlineExceeded)
	if !ended {
		return err
	}
	fmt.Fprintf(stderr, "natlab: %s\n", count(seen, "packet"))
	if lost != "" {
		return errors.New(lost)
	}
	return nil
}

// printPackets prints a line for each packet.
func printPackets(w io.Writer, ps []witness.Packet) error {
	for _, p := range ps {
		arrow := "→ in "
		if p.Direction == witness.Out {
			arrow = "out →"
		}
		src, dst := p.Src.String(), p.Dst.String()
		if p.Src.Port() == 0 && p.Dst.Port() == 0 {
			src, dst = p.Src.Addr().String(), p.Dst.Addr().String()
		}
		if _, err := fmt.Fprintf(w, "%s  %s %s  %s > %s  %s\n", p.At.Format("15:04:05.000000"), p.Point, arrow, src, dst, witness.Summary(p)); err != nil {
			return err
		}
	}
	return nil
}
