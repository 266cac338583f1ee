package service

import (
	"net"
	"strconv"
	"time"
)

// notifier tells systemd how the process is (sd_notify(3)): datagrams to the
// socket that NOTIFY_SOCKET names. Without one it does nothing.
type notifier struct{ socket string }

// send sends one state. That systemd does not listen is no reason to fail.
func (n notifier) send(state string) {
	if n.socket == "" {
		return
	}
	name := n.socket
	if name[0] == '@' { // abstract
		name = "\x00" + name[1:]
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return
	}
	defer conn.Close()
	_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = conn.Write([]byte(state))
}

// reloading says that files are read again; Type=notify-reload wants to know
// when that began, by the monotonic clock.
func (n notifier) reloading() {
	n.send("RELOADING=1\nMONOTONIC_USEC=" + strconv.FormatInt(monotonic().Microseconds(), 10))
}
