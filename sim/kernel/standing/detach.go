//go:build linux

package standing

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"

	"p2pmodel/sim"
	"p2pmodel/sim/kernel"
)

// order is what a process that is to hold a lab reads first.
type order struct {
	Name        string         `json:"name"`
	Lab         string         `json:"lab"` // YAML
	Events      sim.Timeline   `json:"events,omitempty"`
	File        string         `json:"file"`
	Seed        uint64         `json:"seed"`
	Links       kernel.Backend `json:"links,omitempty"`
	Uncertified bool           `json:"uncertified,omitempty"`
	Directory   string         `json:"directory"`
}

// outcome is what it answers: that the lab stands, or why not.
type outcome struct {
	Standing *Standing `json:"standing,omitempty"`
	Error    string    `json:"error,omitempty"`
}

// consent is what it reads then: from here on it is alone. Without it, it takes
// everything down.
const consent = "keep\n"

// Detach has a process of its own hold a lab, and returns when it stands: this
// binary, started again with arguments for which main calls Serve. It leaves the
// session and the folder of this process. When ctx ends before, or this process
// does, everything is taken down.
func Detach(ctx context.Context, spec Spec, arguments ...string) (Standing, error) {
	cmd := exec.Command("/proc/self/exe", arguments...)
	cmd.Args[0] = os.Args[0]
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return Standing{}, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return Standing{}, err
	}
	complaints, theirs, err := os.Pipe()
	if err != nil {
		return Standing{}, err
	}
	defer func() { _ = complaints.Close() }()
	cmd.Stderr = theirs
	err = cmd.Start()
	_ = theirs.Close()
	if err != nil {
		return Standing{}, fmt.Errorf("start a process that holds the lab: %w", err)
	}
	// It notices that its input has ended, and takes everything down.
	giveUp := context.AfterFunc(ctx, func() { _ = stdin.Close() })
	defer giveUp()
	o := order{spec.Name, string(spec.Lab.YAML()), spec.Events, absolute(spec.File), spec.Seed, spec.Links, spec.Uncertified, spec.Directory}
	var got outcome
	err = json.NewEncoder(stdin).Encode(o)
	if err == nil {
		err = json.NewDecoder(stdout).Decode(&got)
	}
	switch {
	case err == nil && got.Standing != nil && giveUp():
		if _, err = io.WriteString(stdin, consent); err == nil {
			_ = stdin.Close()
			_ = stdout.Close()
			_ = cmd.Process.Release()
			return *got.Standing, nil
		}
	case err == nil && got.Error != "":
		err = errors.New(got.Error)
	}
	_ = stdin.Close()
	_ = cmd.Wait()
	if ctx.Err() != nil {
		return Standing{}, ctx.Err()
	}
	if got.Error == "" {
		const most = 4096
		said, _ := io.ReadAll(io.LimitReader(complaints, most))
		err = fmt.Errorf("the process that was to hold the lab has ended (%v): %s", cmd.ProcessState, bytes.TrimSpace(said))
	}
	return Standing{}, err
}

// Serve is the life of a process that Detach has started, after kernel.Enter: it
// reads what it is to hold from stdin, and answers on stdout.
func Serve(ctx context.Context, stdin io.Reader, stdout io.Writer) error {
	in := bufio.NewReader(stdin)
	var o order
	line, err := in.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &o)
	}
	if err != nil {
		return fmt.Errorf("this command is natlab's own, for `natlab up --detach`: read what is to be held: %w", err)
	}
	say := func(what outcome) error { return json.NewEncoder(stdout).Encode(what) }
	lab, err := sim.ParseLab(o.File, []byte(o.Lab))
	if err != nil {
		return errors.Join(err, say(outcome{Error: err.Error()}))
	}
	ctx, giveUp := context.WithCancel(ctx)
	defer giveUp()
	kept := make(chan error, 1)
	go func() {
		text, err := in.ReadString('\n')
		if err == nil && text != consent {
			err = fmt.Errorf("%q is no consent", text)
		}
		if err != nil {
			giveUp() // whoever wanted the lab is gone
		}
		kept <- err
	}()
	spec := Spec{Name: o.Name, Lab: lab, Events: o.Events, File: o.File, Seed: o.Seed, Links: o.Links, Uncertified: o.Uncertified, Directory: o.Directory}
	stood := false
	err = Hold(ctx, spec, func(s Standing) error {
		if err := say(outcome{Standing: &s}); err != nil {
			return err
		}
		if err := <-kept; err != nil {
			return err
		}
		stood = true
		return leave()
	})
	if err != nil && !stood {
		_ = say(outcome{Error: err.Error()})
	}
	return err
}

// leave gives up the files of whoever started us.
func leave() error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { _ = null.Close() }()
	for fd := range 3 {
		if err := unix.Dup3(int(null.Fd()), fd, 0); err != nil {
			return fmt.Errorf("let go of descriptor %d: %w", fd, err)
		}
	}
	return nil
}
