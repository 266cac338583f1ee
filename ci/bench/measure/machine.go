package measure

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// Machine is where it was measured, and of what.
type Machine struct {
	Processor  string `json:"processor"`
	Processors int    `json:"processors"`
	// Kernel is Linux's release.
	Kernel string `json:"kernel"`
	Go     string `json:"go"`
	// Versions are those of what was measured.
	Versions map[string]string `json:"versions,omitempty"`
}

// ThisMachine is where this program runs, with the commit of the working copy. What it cannot find out is left empty.
func ThisMachine(ctx context.Context) Machine {
	m := Machine{Processors: runtime.NumCPU(), Go: runtime.Version(), Versions: map[string]string{}}
	// NumCPU counts where this program may run.
	if n, err := filepath.Glob("/sys/devices/system/cpu/cpu[0-9]*"); err == nil && len(n) > 0 {
		m.Processors = len(n)
	}
	if text, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = strings.TrimSpace(string(text))
	}
	if f, err := os.Open("/proc/cpuinfo"); err == nil {
		defer f.Close()
		for lines := bufio.NewScanner(f); lines.Scan(); {
			if key, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(key) == "model name" {
				m.Processor = strings.TrimSpace(value)
				break
			}
		}
	}
	if out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty", "--exclude", "*").Output(); err == nil {
		m.Versions["p2pmodel"] = strings.TrimSpace(string(out))
	}
	return m
}

// String is one line.
func (m Machine) String() string {
	s := fmt.Sprintf("%s, %d processors, Linux %s, %s", m.Processor, m.Processors, m.Kernel, m.Go)
	names := make([]string, 0, len(m.Versions))
	for name := range m.Versions {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		s += ", " + name + " " + m.Versions[name]
	}
	return s
}
