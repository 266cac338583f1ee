package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"p2pmodel/sim/document"
)

// Exit statuses.
const (
	exitOK         = 0
	exitUnexpected = 1
	exitUnable     = 2
)

// errUnexpected ends a command whose outcome has been printed already.
var errUnexpected = errors.New("not everything was as expected")

// run is main with everything passed in; it returns the exit status.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRootCommand()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	var program exitStatus
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &program):
		complainBut(stderr, err, program)
		return int(program)
	case errors.Is(err, errUnexpected):
		return exitUnexpected
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		fmt.Fprintln(stderr, "natlab: interrupted; everything has been taken down")
		return exitUnable
	default:
		complain(stderr, err)
		return exitUnable
	}
}

// complainBut prints what an error joins, but for the status of a program.
func complainBut(w io.Writer, err error, program exitStatus) {
	for _, e := range joined(err) {
		if e != program {
			complain(w, e)
		}
	}
}

// complain prints all that an error joins, a line each. What is wrong in a file
// begins with FILE:LINE:COL, which editors and terminals take for a link.
func complain(w io.Writer, err error) {
	if _, inFile := err.(document.Errors); inFile {
		fmt.Fprintln(w, err)
		return
	}
	if list := joined(err); list != nil {
		for _, e := range list {
			complain(w, e)
		}
		return
	}
	fmt.Fprintf(w, "natlab: %v\n", err)
}

// joined gives the errors that errors.Join has put together. An error may wrap
// several ones in words of its own, too, which are lost if it is taken apart.
func joined(err error) []error {
	several, ok := err.(interface{ Unwrap() []error })
	if !ok || errors.Join(several.Unwrap()...).Error() != err.Error() {
		return nil
	}
	return several.Unwrap()
}

// exitStatus ends a command with the status of a program that it ran.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("the program ended with status %d", int(e)) }
