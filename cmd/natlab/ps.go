//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"p2pmodel/scenarios/report"
	"p2pmodel/sim/kernel/standing"
)

func newPsCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "ps",
		Short: "List the labs that stand, with their hosts and routers",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			labs, err := standing.All(cmd.Context())
			if err != nil && len(labs) == 0 {
				return err
			}
			if asJSON {
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", "  ")
				enc.SetEscapeHTML(false)
				return errors.Join(err, enc.Encode(struct {
					Labs []standing.Description `json:"labs"`
				}{labs}))
			}
			return errors.Join(err, report.Narrow(cmd.OutOrStdout(), func(w io.Writer) error { return listLabs(w, labs, time.Now()) }))
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return cmd
}

// listLabs prints a line for each lab, and one for each of its nodes.
func listLabs(w io.Writer, labs []standing.Description, now time.Time) error {
	if len(labs) == 0 {
		fmt.Fprintln(w, "no lab stands: build one with `natlab up FILE`")
		return nil
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, l := range labs {
		fmt.Fprintf(tw, "%s\t%s\tup %v, process %d, %s\n", l.Name, l.File, now.Sub(l.Since).Round(time.Second), l.PID, count(l.Programs, "program"))
		for _, r := range l.Routers {
			nat := r.NAT
			if nat == "" {
				nat = "no NAT"
			}
			fmt.Fprintf(tw, "  %s\t%s\tbehind %s, %s\n", r.Name, addressList(r.Addresses), r.Behind, nat)
		}
		for _, h := range l.Hosts {
			where := "behind " + h.Behind
			if h.Uplink != "" {
				where += ", on " + h.Uplink
			}
			fmt.Fprintf(tw, "  %s\t%s\t%s\n", h.Name, addressList(h.Addresses), where)
		}
		if l.Fault != "" {
			fmt.Fprintf(tw, "  fault:\t%s\n", l.Fault)
		}
	}
	return tw.Flush()
}

func addressList(addrs []netip.Addr) string {
	all := make([]string, len(addrs))
	for i, a := range addrs {
		all[i] = a.String()
	}
	return strings.Join(all, ", ")
}
