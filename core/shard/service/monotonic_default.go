//go:build !linux

package service

import "time"

// monotonic: there is no systemd to tell.
func monotonic() time.Duration { return 0 }
