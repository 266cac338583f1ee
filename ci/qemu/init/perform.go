//go:build linux

package main

import (
	"io"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"p2pmodel/ci/qemu/job"
)

// perform runs a job to its end. Its output goes through a pipe: a program that
// saw the console would take it for somebody's terminal.
func perform(j job.Job) job.Result {
	result := job.Result{Name: j.Name}
	began := time.Now()
	var late atomic.Bool
	r, w, err := os.Pipe()
	if err != nil {
		result.Error = err.Error()
		return result
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		result.Error = err.Error()
		return result
	}
	defer null.Close()
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		_, _ = io.Copy(os.Stdout, r)
	}()
	pid, err := syscall.ForkExec(j.Args[0], j.Args, &syscall.ProcAttr{
		Dir: j.Dir, Env: os.Environ(), Files: []uintptr{null.Fd(), w.Fd(), w.Fd()}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	_ = w.Close()
	if err != nil {
		result.Error = err.Error()
	} else {
		killer := time.AfterFunc(j.Limit, func() { late.Store(unix.Kill(-pid, unix.SIGKILL) == nil) })
		result.Code = reap(pid)
		killer.Stop()
	}
	// What it has left behind would hold the pipe.
	select {
	case <-copied:
	case <-time.After(time.Second):
	}
	_ = r.Close()
	result.Took, result.Late = time.Since(began), late.Load()
	return result
}

// reap waits for a process, and takes those that nobody else waits for.
func reap(pid int) int {
	for {
		var status unix.WaitStatus
		ended, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 255
		case ended == pid && status.Signaled():
			return 128 + int(status.Signal())
		case ended == pid && status.Exited():
			return status.ExitStatus()
		}
	}
}
