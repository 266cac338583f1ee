package main

import (
	"errors"
	"fmt"
	"io"
)

// outcome is what a command found out, in the forms that it can be told in.
type outcome interface {
	Write(dir string) error // a report
	WriteJSON(w io.Writer) error
	WriteCSV(w io.Writer) error
}

// tell writes the report, if there is to be one, and then the outcome to standard
// output: what was found out is told, also where it cannot be written down. text
// tells it to people; reported says that there is a report.
func tell(o outcome, format, dir string, stdout io.Writer, text func(reported bool)) error {
	var err error
	if dir != "" {
		if err = o.Write(dir); err != nil {
			err = fmt.Errorf("write the report: %w", err)
		}
	}
	switch format {
	case "json":
		err = errors.Join(err, o.WriteJSON(stdout))
	case "csv":
		err = errors.Join(err, o.WriteCSV(stdout))
	default:
		text(dir != "" && err == nil)
	}
	return err
}
