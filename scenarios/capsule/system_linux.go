package capsule

import (
	"strings"

	"golang.org/x/sys/unix"
)

// system names the system that this process runs on.
func system() string {
	var name unix.Utsname
	_ = unix.Uname(&name) // fails for a bad pointer only
	return strings.Join([]string{
		unix.ByteSliceToString(name.Sysname[:]), unix.ByteSliceToString(name.Release[:]), unix.ByteSliceToString(name.Machine[:]),
	}, " ")
}
