package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

// reload calls f for each SIGHUP, until the context ends, and says on standard
// error what came of it: what f gives, or that everything stays as it was. The
// caller waits for what it returns.
func reload(ctx context.Context, cmd *cobra.Command, f func() (done string, err error)) (ended <-chan struct{}) {
	over := make(chan struct{})
	signals := hangups(ctx)
	go func() {
		defer close(over)
		for {
			select {
			case <-ctx.Done():
				return
			case <-signals:
			}
			done, err := f()
			if err != nil {
				fmt.Fprintf(cmd.ErrOrStderr(), "p2pmodel: reload: %v; everything stays as it was\n", err)
			} else {
				fmt.Fprintf(cmd.ErrOrStderr(), "p2pmodel: reload: %s\n", done)
			}
		}
	}()
	return over
}
