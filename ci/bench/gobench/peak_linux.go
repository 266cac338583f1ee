package gobench

import (
	"os"
	"syscall"
)

// peak is the most that an ended process had resident. Linux counts in KiB.
func peak(s *os.ProcessState) float64 {
	if u, ok := s.SysUsage().(*syscall.Rusage); ok {
		return float64(u.Maxrss) * 1024
	}
	return 0
}
