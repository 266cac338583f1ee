package kernelpath

import (
	"errors"
	"os"
	"sync"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	// lookAgain is how often it is looked whether a path has turned out to be narrower.
	lookAgain = time.Second
	// settled is how long after a change of the tables others are waited for.
	settled = 20 * time.Millisecond
	// anew is how often all paths are resolved without a reason: of what the kernel learns of
	// the Internet's paths by itself it tells nobody.
	anew = time.Minute
)

// groups are the kernel's announcements of links, addresses, routes and rules, of IPv4.
const groups = unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV4_RULE

// watch keeps the paths what the kernel's tables say.
type watch struct {
	conn    *netlink.Conn
	running sync.WaitGroup
	done    chan struct{}
}

func startWatch(p *Path) (*watch, error) {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{Groups: groups})
	if err != nil {
		return nil, err
	}
	w := &watch{conn: conn, done: make(chan struct{})}
	w.running.Go(func() { w.run(p) })
	return w, nil
}

func (w *watch) run(p *Path) {
	var seen uint64
	last := time.Now()
	for wait := lookAgain; ; {
		// A connection that is closed says so when it is read.
		_ = w.conn.SetReadDeadline(time.Now().Add(wait))
		_, err := w.conn.Receive()
		select {
		case <-w.done:
			return
		default:
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			// A change, or so many that some were lost (ENOBUFS).
			wait, last = settled, time.Time{}
			continue
		}
		wait = lookAgain
		var s settings
		if p.maps.settings.Lookup(uint32(0), &s) != nil {
			continue
		}
		switch now := time.Now(); {
		case now.Sub(last) >= anew:
			last = now
			p.routes.refresh(true)
		case s.Narrowed != seen:
			p.routes.refresh(false)
		}
		seen = s.Narrowed
	}
}

// stop ends it.
func (w *watch) stop() {
	if w == nil {
		return
	}
	close(w.done)
	_ = w.conn.Close()
	w.running.Wait()
}
