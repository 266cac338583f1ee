//go:build !unix

package trial

import "time"

var began = time.Now()

// cpuTime is the time that has passed: on a machine without other work, one core's.
func cpuTime() time.Duration { return time.Since(began) }
