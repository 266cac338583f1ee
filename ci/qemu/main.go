// Command qemu proves the laboratory on a kernel other than this machine's: it
// boots Debian's in an emulated machine, and has it certify NATs, run the
// catalogue's scenarios and the kernel's tests, and compare the two backends of
// links. `make qemu` runs it.
//
// It exits with 0 when all jobs ended well, 1 when one did not, and 2 when the
// emulator or the kernel cannot be had.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"p2pmodel/ci/qemu/job"
)

// options are the flags.
type options struct {
	meta, cache string
	limit       time.Duration
	list        bool
	args        []string // names of jobs, or behind --, one command
	command     bool
}

func main() {
	var opt options
	flag.StringVar(&opt.meta, "kernel", "linux-image-cloud-amd64", "Debian's `package` of the kernel")
	flag.StringVar(&opt.cache, "cache", ".cache/qemu", "the `folder` that keeps what was fetched")
	flag.DurationVar(&opt.limit, "limit", 45*time.Minute, "switch the machine off after so long")
	flag.BoolVar(&opt.list, "list", false, "list the jobs and end")
	flag.Usage = func() {
		fmt.Fprintf(flag.CommandLine.Output(), "Usage: qemu [flags] [JOB …]    the jobs of these names (with * and ?), or all\n       qemu [flags] -- COMMAND …    one command in the machine, e.g. /bin/natlab certify linux\n\n")
		flag.PrintDefaults()
	}
	flag.Parse()
	opt.args = flag.Args()
	opt.command = slices.Contains(os.Args, "--")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ok, err := run(ctx, opt)
	if err != nil {
		fmt.Fprintln(os.Stderr, "qemu:", err)
	}
	switch {
	case errors.Is(err, errUnavailable):
		os.Exit(2)
	case err != nil || !ok:
		os.Exit(1)
	}
}

func run(ctx context.Context, opt options) (ok bool, err error) {
	jobs := allJobs()
	if opt.command && len(opt.args) > 0 {
		jobs = []job.Job{{Name: opt.args[0], Args: opt.args, Limit: opt.limit}}
	} else if jobs, err = choose(jobs, opt.args); err != nil {
		return false, err
	}
	if opt.list {
		for _, j := range jobs {
			fmt.Printf("%-24s %s\n", j.Name, strings.Join(j.Args, " "))
		}
		return true, nil
	}
	qemu, err := findEmulator()
	if err != nil {
		return false, err
	}
	if opt.cache, err = filepath.Abs(opt.cache); err != nil {
		return false, err
	}
	if err := os.MkdirAll(opt.cache, 0o755); err != nil {
		return false, err
	}
	k, err := fetchKernel(opt.cache, opt.meta)
	if err != nil {
		return false, err
	}
	scratch, err := os.MkdirTemp(opt.cache, ".run-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(scratch)
	initrd, err := assemble(ctx, opt.cache, scratch, k, jobs)
	if err != nil {
		return false, err
	}
	fmt.Printf("qemu: boots Linux %s, emulated: %d jobs\n", k.release, len(jobs))
	ctx, cancel := context.WithTimeoutCause(ctx, opt.limit, fmt.Errorf("it took longer than %v", opt.limit))
	defer cancel()
	began := time.Now()
	results, err := boot(ctx, qemu, k, initrd, scratch, os.Stdout)
	return summarise(os.Stdout, k, jobs, results, time.Since(began)), err
}

// assemble builds the programs and writes the initramfs.
func assemble(ctx context.Context, cache, scratch string, k kernel, jobs []job.Job) (string, error) {
	busybox, err := fetch(cache, "busybox-static")
	if err != nil {
		return "", err
	}
	modules, err := modulesOf(k)
	if err != nil {
		return "", err
	}
	c := contents{
		init: filepath.Join(scratch, "init"), modules: modules, jobs: jobs,
		busybox:  filepath.Join(busybox, "bin", "busybox"),
		programs: map[string]string{},
		trees:    map[string]string{},
	}
	if err := build(ctx, "build", c.init, "./ci/qemu/init"); err != nil {
		return "", err
	}
	runs := func(program string) bool {
		return slices.ContainsFunc(jobs, func(j job.Job) bool { return j.Args[0] == program })
	}
	if c.programs[natlab] = filepath.Join(scratch, "natlab"); !runs(natlab) {
		delete(c.programs, natlab)
	} else if err := build(ctx, "build", c.programs[natlab], "./cmd/natlab"); err != nil {
		return "", err
	}
	for _, p := range packages {
		if !runs(testOf(p)) {
			continue
		}
		binary := filepath.Join(scratch, strings.ReplaceAll(p, "/", "-")+".test")
		if err := build(ctx, "test", binary, "./"+p); err != nil {
			return "", err
		}
		c.programs[testOf(p)] = binary
		c.trees["src/"+p+"/testdata"] = filepath.Join(p, "testdata")
	}
	initrd := filepath.Join(scratch, "initrd")
	f, err := os.Create(initrd)
	if err != nil {
		return "", err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	if err := errors.Join(c.write(w), w.Flush(), f.Close()); err != nil {
		return "", fmt.Errorf("write the initramfs: %w", err)
	}
	return initrd, nil
}

// build builds a program, or a package's tests, that needs no library.
func build(ctx context.Context, what, to, pkg string) error {
	tool := os.Getenv("GO")
	if tool == "" {
		tool = "go"
	}
	args := []string{what, "-trimpath", "-ldflags=-s -w", "-o", to}
	if what == "test" {
		args = append(args, "-c")
	}
	cmd := exec.CommandContext(ctx, tool, append(args, pkg)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w", what, pkg, err)
	}
	return nil
}

// summarise prints a line a job, and says whether all ended well.
func summarise(w io.Writer, k kernel, jobs []job.Job, results []job.Result, took time.Duration) bool {
	good := 0
	fmt.Fprintf(w, "\nLinux %s under emulation:\n", k.release)
	for i, j := range jobs {
		mark, how := "✗", "not run"
		if i < len(results) {
			r := results[i]
			switch {
			case r.OK():
				mark, how = "✓", "ok"
				good++
			case r.Error != "":
				how = r.Error
			case r.Late:
				how = fmt.Sprintf("killed after %v", j.Limit)
			default:
				how = fmt.Sprintf("exit status %d", r.Code)
			}
			how = fmt.Sprintf("%6.1f s  %s", r.Took.Seconds(), how)
		}
		fmt.Fprintf(w, "%s  %-24s %s\n", mark, j.Name, how)
	}
	fmt.Fprintf(w, "\n%d of %d jobs as expected, in %.0f s\n", good, len(jobs), took.Seconds())
	return good == len(jobs)
}
