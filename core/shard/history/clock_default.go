//go:build !linux

package history

import "time"

var start = time.Now()

// Now is nanoseconds since the process started: good for histories of one process.
func Now() int64 { return int64(time.Since(start)) + 1 }
