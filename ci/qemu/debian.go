package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// errUnavailable marks what this machine lacks: the exit status is 2 then.
var errUnavailable = errors.New("not available here")

// kernel is a kernel of Debian's, unpacked.
type kernel struct {
	release string // as uname has it: 6.1.0-56-cloud-amd64
	image   string
	modules string // the folder that holds them
}

// fetch gets a package of Debian's and unpacks it below the cache, without
// installing it and without root. What is there already is not got again.
func fetch(cache, name string) (dir string, err error) {
	version, err := candidate(name)
	if err != nil {
		return "", err
	}
	dir = filepath.Join(cache, name+"_"+strings.ReplaceAll(version, ":", "-"))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	scratch, err := os.MkdirTemp(cache, ".fetch-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(scratch)
	// The user that apt gives its rights up for must be able to write here.
	if err := os.Chmod(scratch, 0o777); err != nil {
		return "", err
	}
	if out, err := command(scratch, "apt-get", "download", name+":amd64="+version); err != nil {
		return "", fmt.Errorf("%w: apt-get download %s: %v\n%s", errUnavailable, name, err, out)
	}
	files, err := filepath.Glob(filepath.Join(scratch, "*.deb"))
	if err != nil || len(files) != 1 {
		return "", fmt.Errorf("apt-get download %s left %d packages, not one", name, len(files))
	}
	unpacked := filepath.Join(scratch, "unpacked")
	if out, err := command(scratch, "dpkg-deb", "-x", files[0], unpacked); err != nil {
		return "", fmt.Errorf("unpack %s: %w\n%s", files[0], err, out)
	}
	return dir, os.Rename(unpacked, dir)
}

var candidateLine = regexp.MustCompile(`(?m)^\s*Candidate: (\S+)$`)

// candidate is the version of a package that apt would install.
func candidate(name string) (string, error) {
	out, err := command("", "apt-cache", "policy", name+":amd64")
	if errors.Is(err, exec.ErrNotFound) {
		return "", fmt.Errorf("%w: %s comes by apt, which this machine does not have: it takes Debian, or a container of it", errUnavailable, name)
	}
	if err != nil {
		return "", fmt.Errorf("apt-cache policy %s: %w\n%s", name, err, out)
	}
	m := candidateLine.FindSubmatch(out)
	if m == nil || string(m[1]) == "(none)" {
		return "", fmt.Errorf("%w: apt knows no package %s: is this Debian? Its lists come by: sudo apt-get update", errUnavailable, name)
	}
	return string(m[1]), nil
}

var imageLine = regexp.MustCompile(`(?m)^\s*\|?Depends: (linux-image-[0-9]\S*?)(:amd64)?$`)

// fetchKernel gets the kernel that a metapackage as linux-image-cloud-amd64
// stands for at present.
func fetchKernel(cache, meta string) (kernel, error) {
	name := meta
	out, err := command("", "apt-cache", "depends", meta+":amd64")
	if err == nil {
		if m := imageLine.FindSubmatch(out); m != nil {
			name = string(m[1])
		}
	}
	dir, err := fetch(cache, name)
	if err != nil {
		return kernel{}, err
	}
	images, err := filepath.Glob(filepath.Join(dir, "boot", "vmlinuz-*"))
	if err != nil || len(images) != 1 {
		return kernel{}, fmt.Errorf("package %s has %d kernels below %s, not one", name, len(images), filepath.Join(dir, "boot"))
	}
	k := kernel{image: images[0], release: strings.TrimPrefix(filepath.Base(images[0]), "vmlinuz-")}
	for _, below := range []string{"lib", "usr/lib"} {
		k.modules = filepath.Join(dir, below, "modules", k.release)
		if _, err := os.Stat(k.modules); err == nil {
			return k, nil
		}
	}
	return kernel{}, fmt.Errorf("package %s has no modules of %s", name, k.release)
}

func command(dir, name string, args ...string) ([]byte, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.Bytes(), err
}
