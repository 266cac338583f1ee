//go:build linux

package kernel

import (
	"encoding/binary"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"

	"p2pmodel/sim/kernel/wire"
)

// initName is argument 0 of this binary when it is to be the first process of
// a PID namespace; the program's path and arguments follow.
const initName = "p2pmodel-init"

// noopName is argument 0 of this binary when it is to do nothing.
const noopName = "p2pmodel-noop"

// initialised says that Init was called: only then may this binary be started
// again as an init.
var initialised bool

// Init must be the first call of main, and of TestMain in tests, of every
// binary that starts programs on hosts, has labs with impaired links or calls
// Enter. Such a binary starts itself anew to become the first process of a PID
// namespace, or to carry the links' packets; there Init does not return.
func Init() {
	if len(os.Args) > 1 {
		switch os.Args[0] {
		case initName:
			os.Exit(beInit(os.Args[1], os.Args[2:]))
		case doctorName:
			os.Exit(beDoctor())
		case wiresName:
			os.Exit(wire.Serve())
		case noopName:
			os.Exit(0)
		}
	}
	initialised = true
}

// The control socket of an init is its descriptor 3. The init first says
// whether the program was started; after that each byte it reads is a signal
// for the program, or with everyone for all processes of the namespace, and the end of the stream says that whoever started it is
// gone.
const (
	controlFD = 3
	// everyone is added to signals for all processes of the namespace.
	everyone = 0x80
	// started comes with the credentials of the program, by which the kernel
	// tells its PID outside of the namespace.
	started = 'S'
	// failed is followed by the error number.
	failed = 'E'
	// spent is the last thing that an init says: what the program took, as three
	// numbers of 64 bits: KiB of memory, nanoseconds of user and of system time.
	spent = 'U'
)

// Exit codes of an init, as shells have them.
const (
	exitNotStarted = 127
	exitSignalled  = 128 // plus the signal
)

// beInit starts a program, reaps whatever becomes an orphan, and ends with the
// program's exit code; the kernel then kills all that is left in the namespace.
func beInit(path string, argv []string) int {
	unix.CloseOnExec(controlFD)
	m, err := readManner()
	if err == nil {
		err = m.mount()
	}
	if err != nil {
		return refuse(err)
	}
	// An init gets only the signals that it handles. Others on the machine may
	// send one to what they believe to be the program.
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2)

	child, err := syscall.ForkExec(path, argv, &syscall.ProcAttr{
		Env:   os.Environ(),
		Files: []uintptr{0, 1, 2},
		Sys:   m.attributes(),
	})
	if err != nil {
		return refuse(err)
	}
	credentials := unix.UnixCredentials(&unix.Ucred{Pid: int32(child), Uid: uint32(os.Getuid()), Gid: uint32(os.Getgid())})
	if err := unix.Sendmsg(controlFD, []byte{started}, credentials, nil, 0); err != nil {
		return exitNotStarted
	}
	go obey(child)
	go func() {
		for s := range signals {
			_ = unix.Kill(child, s.(syscall.Signal))
		}
	}()
	for {
		var status unix.WaitStatus
		var usage unix.Rusage
		pid, err := unix.Wait4(-1, &status, 0, &usage)
		if err == nil && pid == child && (status.Exited() || status.Signaled()) {
			tellUsage(usage)
		}
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return exitNotStarted
		case pid == child && status.Exited():
			return status.ExitStatus()
		case pid == child && status.Signaled():
			return exitSignalled + int(status.Signal())
		}
	}
}

// obey passes signals on until whoever started us is gone, and then ends the
// namespace.
func obey(child int) {
	var one [1]byte
	for {
		n, err := unix.Read(controlFD, one[:])
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil || n == 0:
			os.Exit(exitSignalled + int(unix.SIGKILL))
		default:
			to := child
			if one[0]&everyone != 0 {
				// To all but us, in one go: none of them can start another meanwhile.
				to = -1
			}
			_ = unix.Kill(to, syscall.Signal(one[0]&^everyone))
		}
	}
}

// tellUsage says what the program took.
func tellUsage(u unix.Rusage) {
	b := []byte{spent}
	for _, n := range []int64{u.Maxrss, u.Utime.Nano(), u.Stime.Nano()} {
		b = binary.NativeEndian.AppendUint64(b, uint64(n))
	}
	_, _ = unix.Write(controlFD, b)
}

// refuse says that the program was not started, and why.
func refuse(err error) int {
	errno := unix.EIO
	_ = errors.As(err, &errno)
	_, _ = unix.Write(controlFD, binary.NativeEndian.AppendUint32([]byte{failed}, uint32(errno)))
	return exitNotStarted
}
