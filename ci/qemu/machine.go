package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"p2pmodel/ci/qemu/job"
)

const (
	emulator = "qemu-system-x86_64"
	memory   = "2G"
	cpus     = "1"
)

// findEmulator makes sure that there is one.
func findEmulator() (string, error) {
	found, err := exec.LookPath(emulator)
	if err != nil {
		return "", fmt.Errorf("%w: no %s: sudo apt-get install --no-install-recommends qemu-system-x86", errUnavailable, emulator)
	}
	return found, nil
}

// boot runs a machine until it switches itself off, or ctx ends, and gives the
// results of its jobs. Its console goes to out.
//
// The processor is emulated (TCG) everywhere: a KVM that opens need not work, and
// what is measured is to be the same on all machines.
func boot(ctx context.Context, qemu string, k kernel, initrd, scratch string, out io.Writer) ([]job.Result, error) {
	results := filepath.Join(scratch, "results")
	cmd := exec.CommandContext(ctx, qemu,
		"-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off", "-rtc", "clock=vm", "-cpu", "max", "-smp", cpus, "-m", memory,
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-kernel", k.image, "-initrd", initrd,
		"-append", "console=ttyS0 rdinit=/init quiet loglevel=3 panic=-1 random.trust_cpu=on mitigations=off",
		"-serial", "stdio", "-serial", "file:"+results)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	if ctx.Err() != nil {
		err = fmt.Errorf("the machine was switched off: %w", context.Cause(ctx))
	}
	f, openErr := os.Open(results)
	if openErr != nil {
		return nil, errors.Join(err, openErr)
	}
	defer f.Close()
	var all []job.Result
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var r job.Result
		if jsonErr := json.Unmarshal(lines.Bytes(), &r); jsonErr != nil {
			return all, errors.Join(err, fmt.Errorf("result %q: %w", lines.Text(), jsonErr))
		}
		all = append(all, r)
	}
	return all, err
}
